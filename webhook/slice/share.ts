// SPDX-License-Identifier: Apache-2.0
// How much each container is to have: ratio or memory of its own > of the pod > workload type > policy > one slot.
import type { Sized, Wish } from './annotations.ts';
import type { PolicyDecision, WorkloadType } from './context.ts';

const PRESETS: Readonly<Record<WorkloadType, number>> = { training: 4, inference: 2, batch: 2, dev: 1 };

/** `from` names the annotation or the rule, for people. */
export function shareOf(container: string, wish: Wish, policy: PolicyDecision | undefined): Sized {
  const own = wish.sizes.get(container) ?? wish.size;
  if (own !== undefined) return own;
  if (wish.workloadType !== undefined) {
    const { type, from } = wish.workloadType;
    return { kind: 'ratio', ratio: PRESETS[type], from: `${from} ${type}` };
  }
  return policy === undefined ? { kind: 'ratio', ratio: 1, from: 'the default' } : shareOfPolicy(policy);
}

function shareOfPolicy(policy: PolicyDecision): Sized {
  const from = `policy rule ${policy.rule}`;
  if (policy.ratio !== undefined) return { kind: 'ratio', ratio: policy.ratio, from };
  if (policy.vram !== undefined) return { kind: 'vram', bytes: policy.vram, from };
  if (policy.workloadType !== undefined) {
    return { kind: 'ratio', ratio: PRESETS[policy.workloadType], from: `${from} (${policy.workloadType})` };
  }
  return { kind: 'ratio', ratio: 1, from: `${from} (one slot)` };
}
