// SPDX-License-Identifier: Apache-2.0
import { setTimeout as delay } from 'node:timers/promises';
import { countNow } from './counts.ts';
import { APP_UID } from './fleet.ts';
import type { TenantName } from './fleet.ts';
import { completeDeafly, forge } from './forge.ts';
import { awaitLetter, discardAll, discardOne, letterOf, redriveAll, redriveOne } from './letters.ts';
import type { Redriven } from './letters.ts';
import { retireUnit } from './operator.ts';
import { LATEST } from './plan.ts';
import type { Step } from './plan.ts';
import type { World } from './world.ts';

/** Real time for an answer of a gateway that lives. */
const ANSWER_MS = 1_000;

/** Where a schedule stands. */
export interface Progress {
  readonly orders: Extract<Step, { readonly do: 'submit' }>[];
  readonly tickets: { readonly tenant: TenantName; readonly ticket: string }[];
  readonly violations: string[];
}

type Kind = Step['do'];
type Doer<K extends Kind> = (
  world: World,
  step: Extract<Step, { readonly do: K }>,
  progress: Progress,
) => void | Promise<unknown>;

/** Clients act on their own: their calls are started, not awaited. What moves time or processes is done when its promise is. */
const DOERS: { readonly [K in Kind]: Doer<K> } = {
  submit: (world, step, progress) => {
    progress.orders.push(step);
    submit(world, step, progress);
  },
  repeat: (world, { of }, progress) => {
    const order = at(progress.orders, of);
    if (order !== undefined) submit(world, order, progress);
  },
  status: ({ client }, { of, waitSeconds }, { tickets }) => {
    const known = at(tickets, of);
    if (known !== undefined) void client.status(known.tenant, known.ticket, waitSeconds);
  },
  cancel: ({ client }, { of }, { tickets }) => {
    const known = at(tickets, of);
    if (known !== undefined) void client.cancel(known.tenant, known.ticket);
  },
  advance: ({ time }, { ms }) => time.advance(ms),
  rest: (_world, { ms }) => delay(ms),
  expire: (world) => void expire(world),
  network: (world, { rate }) => world.setRate(rate),
  'reset-unit': (world, { of }) => at(world.liveUnits(), of)?.reset(),
  arm: (world, { method, fault }) => world.someGateway()?.arm(method, fault),
  'kill-gateway': (world) => world.someGateway()?.kill(),
  'start-gateways': (world) => world.fillGateways(),
  'start-unit': (world, { concurrency, batchSize }) => world.addUnit(concurrency, batchSize),
  'kill-unit': (world, { of }) => at(world.liveUnits(), of)?.kill(),
  'stop-unit': (world, { of }) => at(world.liveUnits(), of)?.stop(),
  'retire-unit': (world, { of }) => {
    const unit = at(world.liveUnits(), of);
    if (unit !== undefined) void retireUnit(world, unit.name);
  },
  revision: (world) => world.nextRevision(),
  'await-letter': awaitLetter,
  redrive: async (world, { of }, progress) => {
    const letter = await letterOf(world, of);
    if (letter !== undefined) redrive(redriveOne(world, letter), progress);
  },
  'redrive-all': (world, _step, progress) => redrive(redriveAll(world), progress),
  discard: async (world, { of }) => {
    const letter = await letterOf(world, of);
    if (letter !== undefined) void discardOne(world, letter);
  },
  'discard-all': (world) => void discardAll(world),
  shares: (world, { share }) => world.tenants.change(share),
  'flush-scripts': (world) => world.backend.flushScripts?.(),
  forge,
  deaf: completeDeafly,
  count: async (world, _step, { violations }) => {
    violations.push(...(await countNow(world)));
  },
};

export async function runStep<K extends Kind>(
  world: World,
  step: Extract<Step, { readonly do: K }>,
  progress: Progress,
): Promise<void> {
  await (DOERS[step.do] as Doer<K>)(world, step, progress);
}

function submit(world: World, order: Extract<Step, { readonly do: 'submit' }>, progress: Progress): void {
  const { tenant, n, deed, key, headers } = order;
  const call = world.client.submit({
    tenant,
    task: { n, deed },
    ...(key === undefined ? {} : { key }),
    ...(headers === undefined ? {} : { headers }),
  });
  void call.then((ticket) => {
    if (ticket !== undefined) progress.tickets.push({ tenant, ticket });
  });
}

/** Whoever redrives gets tickets, and asks for them as for any other. */
function redrive(call: Promise<Redriven[]>, { tickets }: Progress): void {
  void call.then((made) => tickets.push(...made));
}

/** What the sweep of every gateway does on its timer. */
export async function expire(world: World): Promise<void> {
  const gateway = world.someGateway();
  if (gateway === undefined) return;
  const ended = gateway.tap.queue.expire(new Map([[APP_UID, world.revision]])).catch(() => undefined);
  // It may die meanwhile, and then never answers.
  await Promise.race([ended, delay(ANSWER_MS)]);
}

function at<T>(list: readonly T[], place: number): T | undefined {
  return place === LATEST ? list.at(-1) : list[place % Math.max(1, list.length)];
}
