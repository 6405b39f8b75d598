// SPDX-License-Identifier: Apache-2.0
import { setTimeout as delay } from 'node:timers/promises';
import { check } from '../checker.ts';
import { APP_UID } from '../fleet.ts';
import type { TenantName } from '../fleet.ts';
import type { Seen } from '../history.ts';
import { leftoversOf, truthOf } from '../rest.ts';
import { processPlanOf } from './plan.ts';
import type { ProcessPlan, ProcessStep } from './plan.ts';
import { ProcessWorld } from './world.ts';
import type { ProcessGround } from './world.ts';

export interface ProcessResult {
  readonly plan: ProcessPlan;
  readonly violations: readonly string[];
  readonly seen: readonly Seen[];
  readonly logs: readonly string[];
}

interface Progress {
  readonly orders: Extract<ProcessStep, { readonly do: 'submit' }>['orders'][number][];
  readonly tickets: { readonly tenant: TenantName; readonly ticket: string }[];
  /** Stops and restarts that are under way. */
  readonly healing: Promise<unknown>[];
  /** Redis' kills and starts, one after another: a kill that came while it starts would read as a server that cannot. */
  redis: Promise<void>;
}

/** Far beyond leases, retries and restarts, also where a process takes ten seconds to start. */
const REST_MS = 400_000;
const LOOK_MS = 100;
/** Poison takes one after another along. */
const UNITS = 2;

export async function runProcessSchedule(seed: number, ground: ProcessGround): Promise<ProcessResult> {
  const plan = processPlanOf(seed);
  const world = await ProcessWorld.open(plan, ground);
  try {
    const violations = await play(world, plan);
    const logs = violations.length === 0 ? [] : world.logs();
    return { plan, violations, seen: world.history.all(), logs };
  } finally {
    await world.close();
  }
}

async function play(world: ProcessWorld, plan: ProcessPlan): Promise<string[]> {
  const progress: Progress = { orders: [], tickets: [], healing: [], redis: Promise.resolve() };
  await world.fillGateways();
  for (let unit = 0; unit < UNITS; unit++) await world.startUnit();
  for (const step of plan.steps) {
    await delay(step.afterMs);
    await act(world, step, progress);
  }
  world.setRate(0);
  await Promise.all(progress.healing);
  const atRest = await comeToRest(world);
  if (atRest) await Promise.all(progress.tickets.map(({ tenant, ticket }) => world.client.status(tenant, ticket)));
  const { truth, violations } = await truthOf(world, false);
  const found = [...violations, ...check(world.history.all(), truth)];
  if (!atRest) return [...found, `never ends: the queue did not come to rest in ${REST_MS / 1000} s`];
  await world.endAll();
  return [...found, ...(await leftoversOf(world))];
}

async function act(world: ProcessWorld, step: ProcessStep, progress: Progress): Promise<void> {
  switch (step.do) {
    case 'submit':
      for (const order of step.orders) submit(world, order, progress);
      progress.orders.push(...step.orders);
      return;
    case 'start-unit':
      return await world.startUnit();
    case 'kill-redis':
      progress.redis = progress.redis.then(async () => {
        await world.redis.kill9();
        await delay(step.downMs);
        await world.redis.start();
      });
      progress.healing.push(progress.redis);
      return;
    case 'network':
      return world.setRate(step.rate);
    case 'repeat':
    case 'status':
    case 'cancel':
      return asClient(world, step.do, step.of, progress);
    default:
      return toProcess(world, step, progress);
  }
}

function asClient(world: ProcessWorld, what: 'repeat' | 'status' | 'cancel', of: number, progress: Progress): void {
  if (what === 'repeat') {
    const order = at(progress.orders, of);
    if (order !== undefined) submit(world, order, progress);
    return;
  }
  const known = at(progress.tickets, of);
  if (known === undefined) return;
  if (what === 'status') void world.client.status(known.tenant, known.ticket, 2);
  else void world.client.cancel(known.tenant, known.ticket);
}

function toProcess(
  world: ProcessWorld,
  step: Extract<ProcessStep, { readonly do: `${string}-gateway` | `${string}-unit`; readonly of: number }>,
  progress: Progress,
): void {
  const node = at(step.do.endsWith('gateway') ? world.live() : world.liveUnits(), step.of);
  if (node === undefined) return;
  if (step.do === 'kill-gateway') progress.healing.push(node.kill().then(() => world.fillGateways()));
  else if (step.do === 'kill-unit') progress.healing.push(node.kill());
  else if (step.do === 'end-unit') node.end();
  else if (step.do === 'reset-unit') node.network.reset();
  else if ('forMs' in step) progress.healing.push(node.freeze(step.forMs));
}

function submit(world: ProcessWorld, order: Progress['orders'][number], { tickets }: Progress): void {
  const { tenant, n, deed, key } = order;
  const call = world.client.submit({ tenant, task: { n, deed }, ...(key === undefined ? {} : { key }) });
  void call.then((ticket) => {
    if (ticket !== undefined) tickets.push({ tenant, ticket });
  });
}

/** Servers and gateways are back, units come as the operator would bring them: everything must end by itself. */
async function comeToRest(world: ProcessWorld): Promise<boolean> {
  const end = performance.now() + REST_MS;
  while (performance.now() < end) {
    await world.fillGateways();
    while (world.liveUnits().length < UNITS) await world.startUnit();
    const demand = await world.backend.view().demand(APP_UID);
    if (demand.queued === 0 && demand.leased === 0 && world.client.underWay() === 0) return true;
    await delay(LOOK_MS);
  }
  return false;
}

function at<T>(list: readonly T[], place: number): T | undefined {
  return list[place % Math.max(1, list.length)];
}
