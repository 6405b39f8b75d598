// SPDX-License-Identifier: Apache-2.0
import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';
import type { Driver } from './backend.ts';
import { check } from './checker.ts';
import { createHistory } from './history.ts';
import { probeOrder } from './order-probe.ts';
import { planOf } from './plan.ts';
import type { Plan } from './plan.ts';
import { comeToRest, leftoversOf, truthOf } from './rest.ts';
import { runStep } from './run-step.ts';
import type { Progress } from './run-step.ts';
import { tapQueue } from './tap.ts';
import { World } from './world.ts';
import type { Ground } from './world.ts';
import type { Seen } from './history.ts';

export interface ScheduleResult {
  readonly plan: Plan;
  readonly violations: readonly string[];
  readonly seen: readonly Seen[];
}

/** Real time: a thousand times what a schedule takes, as machines may be busy. */
const STUCK_MS = 120_000;
const HOUR_MS = 3_600_000;

/** One schedule in this process: the plan of the seed, then peace, then every rule. */
export async function runSchedule(driver: Driver, seed: number, ground: Ground): Promise<ScheduleResult> {
  const plan = planOf(seed);
  const world = await World.open(driver, seed, ground);
  const stage = { name: 'start' };
  const timer = new AbortController();
  const stuck = delay(STUCK_MS, undefined, { signal: timer.signal }).then(
    () => [`stuck: ${stage.name} has not come back in ${STUCK_MS / 1000} s`],
    () => [],
  );
  const played = play(world, plan, stage)
    .then(async (found) => {
      await close(world, stage);
      return found;
    })
    .catch((err: unknown) => [`broke: ${stage.name}: ${inspect(err)}`]);
  const violations = await Promise.race([played, stuck]);
  timer.abort();
  return { plan, violations, seen: world.history.all() };
}

async function close(world: World, stage: { name: string }): Promise<void> {
  stage.name = 'closing';
  await world.close();
}

async function play(world: World, plan: Plan, stage: { name: string }): Promise<string[]> {
  const progress: Progress = { orders: [], tickets: [], violations: [] };
  for (const [i, step] of plan.steps.entries()) {
    stage.name = `step ${i}, ${step.do}`;
    await runStep(world, step, progress);
  }
  const purging = plan.ending === 'purge';
  stage.name = 'coming to rest';
  const atRest = await comeToRest(world, purging);
  stage.name = 'asking for every ticket';
  // Whoever still has a ticket asks once more.
  if (atRest) await Promise.all(progress.tickets.map(({ tenant, ticket }) => world.client.status(tenant, ticket)));
  stage.name = 'reading the truth';
  const { truth, violations } = await truthOf(world, purging);
  const found = [...progress.violations, ...violations, ...check(world.history.all(), truth)];
  if (!atRest) return [...found, 'never ends: the queue did not come to rest'];
  stage.name = 'stopping';
  for (const unit of world.liveUnits()) unit.kill();
  for (const gateway of world.live()) await gateway.stop();
  stage.name = 'probing the order';
  if (!purging) found.push(...(await probe(world, plan.seed)));
  stage.name = 'sweeping';
  return [...found, ...(await leftoversOf(world))];
}

async function probe(world: World, seed: number): Promise<string[]> {
  // Every lease and every re-offer is over by then.
  const clock = { now: world.time.now() + HOUR_MS };
  const { queue } = tapQueue({ queue: world.backend.view(), history: createHistory(), now: () => clock.now });
  return await probeOrder(queue, world.revision, clock, seed);
}
