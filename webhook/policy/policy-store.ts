// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '#base/logger.ts';
import { counter, gauge } from '#base/metrics.ts';
import type { Counter, Gauge, Registry } from '#base/metrics.ts';
import type { Cache } from '#kube/cache.ts';
import type { EventRecorder } from '#kube/events.ts';
import type { KubeObject } from '#kube/types.ts';
import { readPolicyDocument } from './policy-document.ts';
import { PolicyError } from './policy-error.ts';
import { NO_POLICY, compilePolicy } from './policy.ts';
import type { Policy } from './policy.ts';

/** Key of ConfigMap penstock-slicing. */
export const POLICY_KEY = 'policy.yaml';

export interface PolicyConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

export interface PolicyStoreDeps {
  /** Holds the one ConfigMap, or nothing. */
  readonly configMaps: Cache<PolicyConfigMap>;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly logger: Logger;
  readonly registry: Registry;
}

/**
 * The policy in force. A document that does not fit changes nothing: the last good one stays. It is not kept beyond the process: one
 * that starts with such a document knows no policy, which is something else than that there is none.
 */
export interface PolicyStore {
  /** What holds without a policy, while none is known. */
  current(): Policy;
  /** It is known what is in force, be it that there is no document. */
  synced(): boolean;
  /** There is a document, and none has been read that is good: others may go by an earlier one. */
  unread(): boolean;
  /** After each change of what is in force. Answers how to stop listening. */
  onChange(listener: () => void): () => void;
  stop(): void;
}

interface PolicyMetrics {
  readonly reloads: Counter<'result'>;
  readonly inForce: Gauge;
  readonly good: Gauge;
}

export function createPolicyStore(deps: PolicyStoreDeps): PolicyStore {
  return new WatchedPolicy(deps);
}

class WatchedPolicy implements PolicyStore {
  readonly #deps: PolicyStoreDeps;
  readonly #metrics: PolicyMetrics;
  readonly #listeners = new Set<() => void>();
  readonly #stop: () => void;
  #policy = NO_POLICY;
  /** Of the last document looked at, good or not: metadata changes without it. `null`: there was none in the ConfigMap. */
  #text: string | null | undefined;
  #broken = false;

  constructor(deps: PolicyStoreDeps) {
    this.#deps = deps;
    this.#metrics = createMetrics(deps.registry);
    this.#stop = deps.configMaps.onChange((event) => {
      if (event.type === 'delete') this.#removed();
      else this.#look(event.object);
    });
  }

  current(): Policy {
    return this.#policy;
  }

  synced(): boolean {
    return this.#deps.configMaps.hasSynced() && !this.unread();
  }

  unread(): boolean {
    return this.#broken && this.#policy === NO_POLICY;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  stop(): void {
    this.#stop();
  }

  #look(configMap: PolicyConfigMap): void {
    const text = configMap.data?.[POLICY_KEY] ?? null;
    if (text === this.#text) return;
    this.#text = text;
    try {
      if (text === null)
        throw new PolicyError('data', `has no key ${POLICY_KEY}`, `put the document under ${POLICY_KEY}`);
      this.#take(configMap, text);
    } catch (err) {
      if (!(err instanceof PolicyError)) throw err;
      this.#refuse(configMap, err);
    }
  }

  #take(configMap: PolicyConfigMap, text: string): void {
    const policy = compilePolicy(readPolicyDocument(text));
    const healed = this.#broken;
    this.#broken = false;
    this.#metrics.reloads.inc({ result: 'loaded' });
    this.#metrics.good.set(1);
    const { logger, events } = this.#deps;
    logger.info(
      { rules: policy.rules.length, resourceVersion: configMap.metadata.resourceVersion },
      'slicing policy in force',
    );
    if (healed) {
      const note = `the document fits again and is in force, with ${policy.rules.length} rules`;
      events.record({ regarding: configMap, type: 'Normal', reason: 'PolicyAccepted', action: 'Load', note });
    }
    this.#change(policy);
  }

  #refuse(configMap: PolicyConfigMap, err: PolicyError): void {
    this.#broken = true;
    this.#metrics.reloads.inc({ result: 'refused' });
    this.#metrics.good.set(0);
    const { logger, events } = this.#deps;
    const stays = this.unread()
      ? 'no pod is sliced until there is a good one, as none has been read'
      : 'the last good document stays in force';
    const { field, problem, fix } = err;
    logger.error(
      { field, problem, fix, resourceVersion: configMap.metadata.resourceVersion },
      `slicing policy refused; ${stays}`,
    );
    const note = `${err.message}; ${stays}`;
    events.record({ regarding: configMap, type: 'Warning', reason: 'PolicyRefused', action: 'Load', note });
  }

  #removed(): void {
    this.#text = undefined;
    this.#broken = false;
    this.#metrics.reloads.inc({ result: 'removed' });
    this.#metrics.good.set(1);
    this.#deps.logger.info({}, 'slicing policy removed: nobody is enrolled by it any more');
    this.#change(NO_POLICY);
  }

  #change(policy: Policy): void {
    this.#policy = policy;
    this.#metrics.inForce.set(policy.rules.length);
    for (const listener of this.#listeners) listener();
  }
}

function createMetrics(registry: Registry): PolicyMetrics {
  const reloads = counter(
    registry,
    'penstock_webhook_policy_reloads_total',
    'Documents of ConfigMap penstock-slicing by what became of them',
    ['result'],
    ['loaded', 'refused', 'removed'].map((result) => ({ result })),
  );
  const good = gauge(
    registry,
    'penstock_webhook_policy_last_reload_success',
    '0 while the document in the ConfigMap is not the one in force',
  );
  good.set(1);
  const inForce = gauge(registry, 'penstock_webhook_policy_rules', 'Rules in force');
  inForce.set(0);
  return { reloads, inForce, good };
}
