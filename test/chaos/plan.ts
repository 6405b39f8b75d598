// SPDX-License-Identifier: Apache-2.0
import { seededRandom } from '#base/random.ts';
import type { Random } from '#base/random.ts';
import type { CallFault } from './tap.ts';
import { TENANTS } from './fleet.ts';
import type { Share, TenantName } from './fleet.ts';
import { BATCH_PRIORITY, DEEDS } from './work.ts';
import type { Deed } from './work.ts';

export type Step =
  | {
      readonly do: 'submit';
      readonly tenant: TenantName;
      readonly n: number;
      readonly deed: Deed;
      readonly key?: string;
      readonly headers?: Readonly<Record<string, string>>;
    }
  /** The same order once more: the client has forgotten, or never heard. */
  | { readonly do: 'repeat'; readonly of: number }
  | { readonly do: 'status'; readonly of: number; readonly waitSeconds: number }
  | { readonly do: 'cancel'; readonly of: number }
  | { readonly do: 'advance'; readonly ms: number }
  | { readonly do: 'rest'; readonly ms: number }
  | { readonly do: 'expire' }
  | { readonly do: 'network'; readonly rate: number }
  | { readonly do: 'reset-unit'; readonly of: number }
  | { readonly do: 'arm'; readonly method: string; readonly fault: CallFault }
  | { readonly do: 'kill-gateway' }
  | { readonly do: 'start-gateways' }
  | { readonly do: 'start-unit'; readonly concurrency: number; readonly batchSize: number }
  | { readonly do: 'kill-unit'; readonly of: number }
  | { readonly do: 'stop-unit'; readonly of: number }
  | { readonly do: 'retire-unit'; readonly of: number }
  | { readonly do: 'revision' }
  | { readonly do: 'await-letter' }
  | { readonly do: 'redrive'; readonly of: number }
  | { readonly do: 'redrive-all' }
  | { readonly do: 'discard'; readonly of: number }
  | { readonly do: 'discard-all' }
  | { readonly do: 'shares'; readonly share: Share }
  /** Redis forgets its scripts, as it does at a restart or a failover. */
  | { readonly do: 'flush-scripts' }
  | { readonly do: 'forge' }
  | { readonly do: 'deaf' }
  | { readonly do: 'count' };

export interface Plan {
  readonly seed: number;
  readonly steps: readonly Step[];
  /** How it ends: by a sweep past every retention, or by the deletion of the app in the middle of it. */
  readonly ending: 'retention' | 'purge';
}

/** Of what clients know: what they learned last. */
export const LATEST = -1;

/** Methods of the queue that a gateway calls while it works. */
const METHODS = [
  'enqueue',
  'lease',
  'extend',
  'complete',
  'fail',
  'release',
  'cancel',
  'expire',
  'noteObject',
  'get',
  'redrive',
  'discard',
  'setShares',
];
const FAULTS: readonly CallFault[] = ['fail-before', 'fail-after', 'kill-before', 'kill-during', 'kill-after'];

/** Steps that choose one of what there is. */
const POINTING = [
  'repeat',
  'cancel',
  'redrive',
  'discard',
  'reset-unit',
  'kill-unit',
  'stop-unit',
  'retire-unit',
] as const;
const pointsAt = (kind: Step['do']): kind is (typeof POINTING)[number] =>
  (POINTING as readonly string[]).includes(kind);

/** How often each kind of step comes, relative to the others. */
const WEIGHTS: readonly (readonly [Step['do'], number])[] = [
  ['submit', 12],
  ['repeat', 3],
  ['status', 3],
  ['cancel', 4],
  ['advance', 5],
  ['rest', 4],
  ['expire', 2],
  ['network', 2],
  ['reset-unit', 2],
  ['arm', 4],
  ['kill-gateway', 1],
  ['start-gateways', 2],
  ['start-unit', 2],
  ['kill-unit', 1],
  ['stop-unit', 1],
  ['retire-unit', 1],
  ['revision', 0.4],
  ['redrive', 2],
  ['redrive-all', 1],
  ['discard', 1],
  ['discard-all', 0.3],
  ['shares', 1.5],
  ['flush-scripts', 1],
  ['forge', 4],
  ['count', 2],
];
const TOTAL = WEIGHTS.reduce((sum, [, weight]) => sum + weight, 0);

const STEPS_MIN = 18;
const STEPS_MORE = 26;
const DEED_WEIGHTS: Readonly<Record<Deed, number>> = {
  echo: 8,
  large: 2,
  slow: 2.5,
  throw: 1,
  flaky: 2,
  input: 1,
  poison: 1,
  hang: 0.3,
};

/** The schedule of a seed: always the same one. */
export function planOf(seed: number): Plan {
  const random = seededRandom(seed * 2_654_435_761);
  const luck = lucky(random);
  let n = 0;
  const count = STEPS_MIN + luck.below(STEPS_MORE);
  const number = (): number => ++n;
  const steps = Array.from({ length: count }, () => stepOf(pick(luck.fraction()), luck, number));
  if (luck.chance(0.4)) steps.splice(luck.below(count), 0, ...deafUnit(number()));
  if (luck.chance(0.4)) steps.splice(luck.below(count), 0, ...deadLetters(luck, number));
  const first: Step[] = [
    { do: 'start-gateways' },
    { do: 'start-unit', concurrency: 1 + luck.below(4), batchSize: 1 + luck.below(3) },
  ];
  return { seed, steps: [...first, ...steps], ending: luck.chance(0.2) ? 'purge' : 'retention' };
}

/** A request is cancelled while it runs, and its unit does not hear of it in time. */
function deafUnit(n: number): Step[] {
  const wait: Step[] = Array.from({ length: 3 }, () => ({ do: 'rest', ms: 3 }));
  return [
    { do: 'start-gateways' },
    { do: 'start-unit', concurrency: 8, batchSize: 1 },
    { do: 'submit', tenant: 'ann', n, deed: 'slow', headers: { 'penstock-priority': '10' } },
    ...wait,
    { do: 'cancel', of: LATEST },
    ...wait,
    { do: 'deaf' },
  ];
}

/** Requests that fail for good, and somebody who looks after them. */
function deadLetters(luck: Luck, number: () => number): Step[] {
  const letter = (): Step => {
    const n = number();
    return { do: 'submit', tenant: luck.one(TENANTS), n, deed: 'throw', key: `key-${n}` };
  };
  const looks = ['redrive', 'redrive', 'redrive-all', 'discard'] as const;
  return [
    { do: 'start-gateways' },
    { do: 'start-unit', concurrency: 8, batchSize: 1 },
    letter(),
    letter(),
    { do: 'await-letter' },
    // An equal request lives when the letter is redriven.
    ...(luck.chance(0.3) ? [{ do: 'repeat', of: LATEST } as const] : []),
    stepOf(luck.one(looks), luck, number),
    ...(luck.chance(0.3) ? [stepOf('arm', luck, number)] : []),
    stepOf(luck.one(looks), luck, number),
  ];
}

type Luck = ReturnType<typeof lucky>;

function lucky(random: Random) {
  const fraction = (): number => random.fraction();
  const below = (n: number): number => Math.floor(fraction() * n);
  return {
    fraction,
    below,
    chance: (part: number): boolean => fraction() < part,
    one: <T>(list: readonly T[]): T => list[below(list.length)] as T,
  };
}

function pick(fraction: number): Step['do'] {
  let left = fraction * TOTAL;
  return WEIGHTS.find(([, weight]) => (left -= weight) < 0)?.[0] ?? 'rest';
}

function stepOf(kind: Step['do'], luck: Luck, nextNumber: () => number): Step {
  const of = luck.below(1_000);
  if (pointsAt(kind)) return { do: kind, of };
  switch (kind) {
    case 'submit':
      return submission(luck, nextNumber());
    case 'status':
      return { do: kind, of, waitSeconds: luck.chance(0.3) ? 20 : 0 };
    case 'advance':
      // Below a lease, about one, or well past it.
      return { do: kind, ms: luck.one([50, 2_000, 9_000, 16_000, 29_000, 31_000, 45_000]) };
    case 'rest':
      return { do: kind, ms: luck.below(4) };
    case 'network':
      return { do: kind, rate: luck.one([0, 0, 0.02, 0.1, 0.3]) };
    case 'arm':
      return { do: kind, method: luck.one(METHODS), fault: luck.one(FAULTS) };
    case 'shares':
      return {
        do: kind,
        share: { bobWeight: luck.one([1, 3, 50]), bobInFlight: luck.one([1, 2, 4]), eveQueued: luck.one([1, 3, 9]) },
      };
    case 'start-unit':
      return { do: kind, concurrency: 1 + luck.below(5), batchSize: 1 + luck.below(3) };
    default:
      return { do: kind };
  }
}

function submission(luck: Luck, n: number): Step {
  let left = luck.fraction() * Object.values(DEED_WEIGHTS).reduce((sum, weight) => sum + weight, 0);
  const deed = DEEDS.find((one) => (left -= DEED_WEIGHTS[one]) < 0) ?? 'echo';
  const priority = luck.chance(0.2) ? BATCH_PRIORITY : luck.below(21) - 10;
  return {
    do: 'submit',
    tenant: luck.one(TENANTS),
    n,
    deed,
    ...(luck.chance(0.5) ? { key: `key-${n}` } : {}),
    headers: {
      ...(luck.chance(0.4) ? { 'penstock-priority': String(priority) } : {}),
      ...(luck.chance(0.15) ? { 'penstock-deadline': `+${1 + luck.below(120)}` } : {}),
      ...(luck.chance(0.2) ? { 'penstock-cost': luck.one(['0.001', '1', '250.5']) } : {}),
    },
  };
}
