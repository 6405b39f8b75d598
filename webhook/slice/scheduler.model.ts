// SPDX-License-Identifier: Apache-2.0
// Whether the scheduler would put a pod on a node that is empty, for tests: written moment by moment, as a pod runs.
import { amountOf } from './amounts.ts';
import type { GpuNode } from './inventory.ts';
import { isInService, mayLandOn } from './node-match.ts';
import type { Container, Pod } from './pod.ts';

/** At this moment. */
export function isSchedulable(pod: Pod, node: GpuNode): boolean {
  const tolerations = pod.spec.tolerations ?? [];
  if (!mayLandOn(pod.spec, tolerations, node) || !isInService(tolerations, node)) return false;
  return fits(pod, (resource) => node.allocatable.get(resource) ?? 0);
}

/** Some day: taints come and go, and devices get well. */
export function mayBeScheduled(pod: Pod, node: GpuNode): boolean {
  if (!mayLandOn(pod.spec, [{ operator: 'Exists' }], node)) return false;
  return fits(pod, (resource) => node.advertised.get(resource) ?? node.allocatable.get(resource) ?? 0);
}

function fits({ spec }: Pod, amounts: (resource: string) => number): boolean {
  const inits = spec.initContainers ?? [];
  const isSidecar = ({ restartPolicy }: Container): boolean => restartPolicy === 'Always';
  const moments = inits.map((init, index) => [...inits.slice(0, index).filter((one) => isSidecar(one)), init]);
  moments.push([...inits.filter((one) => isSidecar(one)), ...spec.containers]);
  return moments.every((running) => {
    const all = running.map(({ resources }) => ({ ...resources?.limits, ...resources?.requests }));
    return [...new Set(all.flatMap((asked) => Object.keys(asked)))].every(
      (name) => all.reduce((sum, asked) => sum + amountOf(name, asked[name]), 0) <= amounts(name),
    );
  });
}
