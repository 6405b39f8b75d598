// SPDX-License-Identifier: Apache-2.0
import { counter, gauge, histogram } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import { WEBHOOK_ERROR_CODES } from './errors.ts';
import type { WebhookErrorCode } from './errors.ts';
import type { NoopReason, SliceReport } from './slice/context.ts';

/** What the three paths are called in metrics and logs; `none`: a call to no path of ours. */
export const WEBHOOKS = ['pods', 'inferenceapps', 'placements'] as const;
export type WebhookName = (typeof WEBHOOKS)[number] | 'none';

const RESULTS = ['allowed', 'refused', 'error'] as const;
export type Result = (typeof RESULTS)[number];

const WORKLOAD_TYPES = ['training', 'inference', 'batch', 'dev', 'none'] as const;
const NOOP_REASONS: readonly NoopReason[] = [
  'no-gpu',
  'not-asked',
  'opted-out',
  'policy-ignored',
  'already-sliced',
  'not-synced',
  'no-policy',
  'no-namespace',
  'no-delivery',
  'windows',
  'mirror',
  'malformed',
  'too-large',
  'no-node',
  'no-target',
  'internal-error',
];
/** Namespaces with a series of their own; those that slice their first pod later are counted together: namespaces are made without a bound. */
const NAMESPACE_LABELS_MAX = 200;
/** Rules of the policy with a series of their own: over the life of a process an admin may rename them without end. */
const RULE_LABELS_MAX = 200;
/** Label of all that have no series of their own. */
export const OTHER = 'other';
/** From a look at a pod without GPUs to the deadline. */
const SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 5, 10];

export interface WebhookMetrics {
  /** One call was answered. `namespace`: of the review, where there was one that could be read. */
  answered(webhook: WebhookName, result: Result, seconds: number, namespace?: string): void;
  /** What became of one pod. Server-side dry runs are not counted: nothing comes of them. */
  sliced(report: SliceReport): void;
  failed(code: WebhookErrorCode, namespace?: string): void;
  /** Clients that left, or were cut off, before their answer was out. */
  gone(): void;
}

/**
 * @param load what is under way, asked for when somebody scrapes
 * @param exists whether there is such a namespace: whoever reaches the port may send reviews of any, which get no series of their own
 */
export function createWebhookMetrics(
  registry: Registry,
  load: () => { readonly reviews: number; readonly connections: number },
  exists: (namespace: string) => boolean = () => true,
): WebhookMetrics {
  gauge(registry, 'penstock_webhook_in_flight', 'Reviews received or handled right now', [], (made) =>
    made.set(load().reviews),
  );
  gauge(registry, 'penstock_webhook_connections', 'Open connections to the admission port', [], (made) =>
    made.set(load().connections),
  );
  const bounded = boundedLabel(NAMESPACE_LABELS_MAX);
  const label: NamespaceLabel = (namespace = '') =>
    namespace !== '' && namespace !== OTHER && exists(namespace) ? bounded(namespace) : OTHER;
  return { ...answerMetrics(registry, label), ...sliceMetrics(registry, label) };
}

type NamespaceLabel = (namespace: string | undefined) => string;

function answerMetrics(
  registry: Registry,
  label: NamespaceLabel,
): Pick<WebhookMetrics, 'answered' | 'failed' | 'gone'> {
  const webhooks = [...WEBHOOKS, 'none'];
  const requests = counter(
    registry,
    'penstock_webhook_requests_total',
    'Admission calls by result: allowed, refused by a rule, answered with an error',
    ['webhook', 'result', 'namespace'],
    webhooks.flatMap((webhook) => RESULTS.map((result) => ({ webhook, result, namespace: OTHER }))),
  );
  const errors = counter(
    registry,
    'penstock_webhook_errors_total',
    'Calls that were answered with an error, or passed unlooked at because of one, by code',
    ['code', 'namespace'],
    WEBHOOK_ERROR_CODES.map((code) => ({ code, namespace: OTHER })),
  );
  const gone = counter(registry, 'penstock_webhook_gone_total', 'Calls whose client left before the answer', [], [{}]);
  const seconds = histogram(
    registry,
    'penstock_webhook_request_seconds',
    'From the headers of a call to its answer',
    ['webhook'],
    SECONDS,
  );
  for (const webhook of webhooks) seconds.zero({ webhook });
  return {
    answered: (webhook, result, took, namespace) => {
      requests.inc({ webhook, result, namespace: label(namespace) });
      seconds.observe({ webhook }, took);
    },
    failed: (code, namespace) => errors.inc({ code, namespace: label(namespace) }),
    gone: () => gone.inc(),
  };
}

function sliceMetrics(registry: Registry, label: NamespaceLabel): Pick<WebhookMetrics, 'sliced'> {
  const made = sliceCounters(registry);
  const rules = boundedLabel(RULE_LABELS_MAX);
  return {
    sliced: ({ outcome, reason = 'malformed', workloadType, rule, gpusSaved, requestDryRun, ...report }) => {
      if (requestDryRun) return;
      const namespace = label(report.namespace);
      if (outcome === 'dry-run') made.audits.inc({ namespace, workload_type: workloadType });
      else if (outcome === 'ephemeral') {
        const { limited = 0, unlimited = 0 } = report.ephemeral ?? {};
        made.ephemeral.inc({ namespace, limited: 'true' }, limited);
        made.ephemeral.inc({ namespace, limited: 'false' }, unlimited);
      } else if (outcome === 'noop') {
        if (report.restored) made.restored.inc({ namespace });
        else made.noops.inc({ reason, namespace, workload_type: workloadType });
      } else if (outcome === 'mutated' && report.again) made.mended.inc({ namespace });
      else if (outcome === 'mutated') {
        made.mutations.inc({ namespace, workload_type: workloadType });
        if (rule !== undefined) made.enrolled.inc({ rule: rules(rule) });
        made.saved.inc(gpusSaved);
      }
    },
  };
}

function sliceCounters(registry: Registry) {
  const namespace = OTHER;
  const types = WORKLOAD_TYPES.map((type) => ({ namespace, workload_type: type }));
  return {
    mutations: counter(
      registry,
      'penstock_webhook_mutations_total',
      'Pods whose GPUs were made slices, by workload type; none: a ratio, a memory share or the default decided',
      ['namespace', 'workload_type'],
      types,
    ),
    mended: counter(
      registry,
      'penstock_webhook_mended_total',
      'Pods that had slices when they came, and were put right',
      ['namespace'],
      [{ namespace }],
    ),
    restored: counter(
      registry,
      'penstock_webhook_restored_total',
      'Pods that had slices when they came, and were made whole again',
      ['namespace'],
      [{ namespace }],
    ),
    audits: counter(
      registry,
      'penstock_webhook_audits_total',
      'Pods only annotated: dry run',
      ['namespace', 'workload_type'],
      types,
    ),
    noops: counter(
      registry,
      'penstock_webhook_noops_total',
      'Pods left as they are, by reason',
      ['reason', 'namespace', 'workload_type'],
      NOOP_REASONS.map((reason) => ({ reason, namespace, workload_type: 'none' })),
    ),
    ephemeral: counter(
      registry,
      'penstock_webhook_ephemeral_containers_total',
      'Ephemeral containers of pods with slices, by whether they share the limit of another container',
      ['namespace', 'limited'],
      ['true', 'false'].map((limited) => ({ namespace, limited })),
    ),
    enrolled: counter(
      registry,
      'penstock_webhook_policy_enrolled_total',
      'Pods sliced because of a rule of the policy',
      ['rule'],
      [{ rule: OTHER }],
    ),
    saved: counter(registry, 'penstock_webhook_gpus_saved_total', 'Whole GPUs not asked for any more', [], [{}]),
  };
}

/** The first `max` values as they are, every further one as `other`. */
export function boundedLabel(max: number): (value: string) => string {
  const seen = new Set<string>();
  return (value) => {
    if (seen.has(value)) return value;
    if (seen.size >= max) return OTHER;
    seen.add(value);
    return value;
  };
}
