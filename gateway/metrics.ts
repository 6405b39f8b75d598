// SPDX-License-Identifier: Apache-2.0
import { counter, gauge, histogram } from '#base/metrics.ts';
import type { Counter, Gauge, Registry } from '#base/metrics.ts';
import { COMPLETE_ROUTE, INFER_ROUTE, LEASE_ROUTE, STATUS_ROUTE } from './http/exchange.ts';
import type { Exchange } from './http/exchange.ts';
import type { Durability } from './queue/lease-queue.ts';

type Port = 'client' | 'internal';

const CHECK_VERDICTS = ['fits', 'misfits', 'unusable', 'overrun', 'unavailable'] as const;
type CheckVerdict = (typeof CHECK_VERDICTS)[number];

/** What the gateway counts. Labels are of bounded sets: routes and status classes, never paths, tenants or ids. */
export interface GatewayMetrics {
  /** An answer went out. */
  readonly answered: (x: Exchange, port: Port, seconds: number) => void;
  readonly accepted: (how: 'queued' | 'joined') => void;
  /** A body was checked against its app's schema, or could not be. */
  readonly checked: (verdict: CheckVerdict) => void;
  /** A ticket of ours without a record. */
  readonly lost: () => void;
  readonly leased: (count: number) => void;
  /** A wait ended with what was waited for; `by` says what ended it. */
  readonly wokenFor: (waiter: 'client' | 'unit', by: string) => void;
  /** Results, failures and hand-backs by what the queue made of them. */
  readonly settled: (call: 'complete' | 'fail' | 'release', outcome: string, count: number) => void;
  readonly expired: (count: number) => void;
  readonly deadLetters: (count: number) => void;
  /** What people did with dead letters. */
  readonly lettersActed: (how: 'redriven' | 'joined' | 'discarded', count: number) => void;
  readonly durability: (promise: Durability) => void;
}

export interface GatewayGauges {
  readonly waitingClients: () => number;
  readonly waitingUnits: () => number;
}

const DURABILITIES: readonly Durability[] = ['fsync', 'everysec', 'none'];

const SETTLED = [
  ...['committed', 'lost', 'cancelled'].map((outcome) => ({ call: 'complete', outcome })),
  ...['requeued', 'failed', 'lost', 'cancelled'].map((outcome) => ({ call: 'fail', outcome })),
  ...['requeued', 'lost', 'cancelled'].map((outcome) => ({ call: 'release', outcome })),
];

/** A wait that was ended by `recheck` or `time` and found something had missed a message (DESIGN §3.8). */
const WOKEN = [
  ...['commit', 'event', 'recheck'].map((by) => ({ waiter: 'client', by })),
  ...['event', 'passed', 'settled', 'app', 'recheck', 'time'].map((by) => ({ waiter: 'unit', by })),
];

/** Routes whose answers a dashboard shows from the start. */
const MAIN_ROUTES: readonly { readonly port: Port; readonly route: string }[] = [
  { port: 'client', route: INFER_ROUTE },
  { port: 'client', route: STATUS_ROUTE },
  { port: 'internal', route: LEASE_ROUTE },
  { port: 'internal', route: COMPLETE_ROUTE },
];

export function createGatewayMetrics(registry: Registry, gauges: GatewayGauges): GatewayMetrics {
  const promise = gauge(registry, 'penstock_gateway_durability', 'The promise for accepted requests (1 = it holds).', [
    'promise',
  ]);
  readOnScrape(
    gauge(registry, 'penstock_gateway_waiting_clients', 'Clients waiting for a result.'),
    gauges.waitingClients,
  );
  readOnScrape(gauge(registry, 'penstock_gateway_waiting_units', 'Units waiting for work.'), gauges.waitingUnits);
  return {
    answered: answerMetrics(registry),
    ...requestMetrics(registry),
    durability: (now) => {
      for (const one of DURABILITIES) promise.set({ promise: one }, one === now ? 1 : 0);
    },
  };
}

function answerMetrics(registry: Registry): GatewayMetrics['answered'] {
  const labels = ['port', 'route'] as const;
  const answers = counter(
    registry,
    'penstock_gateway_answers_total',
    'Answers by port, route and status class.',
    [...labels, 'status'],
    MAIN_ROUTES.flatMap((route) => ['2xx', '4xx', '5xx'].map((status) => ({ ...route, status }))),
  );
  const seconds = histogram(
    registry,
    'penstock_gateway_answer_seconds',
    'Time to the end of the answer, long-polls included.',
    labels,
  );
  // To look a labelled child up takes a hash of its labels per call; the hot path keeps its own.
  const children = new Map<string, (took: number) => void>();
  return ({ route, res }, port, took) => {
    const status = `${Math.floor(res.statusCode / 100)}xx`;
    const name = `${port} ${route} ${status}`;
    let child = children.get(name);
    if (child === undefined) {
      const count = answers.labels({ port, route, status });
      const observe = seconds.labels({ port, route });
      child = (s) => {
        count.inc();
        observe.observe(s);
      };
      children.set(name, child);
    }
    child(took);
  };
}

function requestMetrics(registry: Registry): Omit<GatewayMetrics, 'answered' | 'durability'> {
  const accepted = counter(
    registry,
    'penstock_gateway_accepted_total',
    'Requests accepted: queued anew, or joined to an equal one.',
    ['how'],
    [{ how: 'queued' }, { how: 'joined' }],
  );
  const settled = counter(
    registry,
    'penstock_gateway_settled_total',
    'What the queue made of results, failures and released leases.',
    ['call', 'outcome'],
    SETTLED,
  );
  const checked = counter(
    registry,
    'penstock_gateway_body_checks_total',
    'Bodies checked against the schema of their app; unusable: the schema is; overrun: the check took too long.',
    ['verdict'],
    CHECK_VERDICTS.map((verdict) => ({ verdict })),
  );
  const lost = counter(registry, 'penstock_requests_lost_total', 'Tickets whose record is gone before its time.');
  const leased = counter(registry, 'penstock_gateway_leases_total', 'Leases handed to workers.');
  const woken = counter(
    registry,
    'penstock_gateway_wake_ups_total',
    'Waits that ended with a result or with work, by what ended them; by recheck: a message between replicas was lost.',
    ['waiter', 'by'],
    WOKEN,
  );
  const deadLetters = counter(
    registry,
    'penstock_gateway_dead_letters_total',
    'Requests that failed for good: their attempts are spent, or the losses of units under them. The replicas add up.',
  );
  const acted = counter(
    registry,
    'penstock_gateway_dead_letters_acted_total',
    'Dead letters that were redriven (joined: to an equal live request) or discarded.',
    ['how'],
    [{ how: 'redriven' }, { how: 'joined' }, { how: 'discarded' }],
  );
  const expired = counter(registry, 'penstock_gateway_expired_total', 'Leases and deadlines that ran out.');
  const acceptedOf = children((how: string) => accepted.labels({ how }));
  const checkedOf = children((verdict: string) => checked.labels({ verdict }));
  const settledOf = children((call: string, outcome: string) => settled.labels({ call, outcome }));
  const wokenOf = children((waiter: string, by: string) => woken.labels({ waiter, by }));
  return {
    accepted: (how) => acceptedOf(how).inc(),
    checked: (verdict) => checkedOf(verdict).inc(),
    settled: (call, outcome, count) => settledOf(call, outcome).inc(count),
    lost: () => lost.inc(),
    leased: (count) => leased.inc(count),
    wokenFor: (waiter, by) => wokenOf(waiter, by).inc(),
    expired: (count) => expired.inc(count),
    deadLetters: (count) => deadLetters.inc(count),
    lettersActed: (how, count) => acted.inc({ how }, count),
  };
}

/** To look a labelled child up takes a hash of its labels per call; the hot path keeps its own. */
function children<A extends readonly string[]>(
  make: (...labels: A) => Counter.Internal,
): (...labels: A) => Counter.Internal {
  const made = new Map<string, Counter.Internal>();
  return (...labels) => {
    const name = labels.join(' ');
    let child = made.get(name);
    if (child === undefined) {
      child = make(...labels);
      made.set(name, child);
    }
    return child;
  };
}

/** A gauge that is read when it is scraped. */
function readOnScrape(metric: Gauge, read: () => number): void {
  Object.assign(metric, { collect: () => metric.set(read()) });
}
