// SPDX-License-Identifier: Apache-2.0
import { VISIBLE_DEVICES } from './names.ts';

const HARMLESS: readonly unknown[] = VISIBLE_DEVICES.harmless;

/**
 * Whether a variable shows its container GPUs of the node, be it one that asked for none or for a slice of one: the kubelet puts it after what
 * the device plugin says, and where the NVIDIA runtime takes devices from variables, it wins.
 */
export function showsDevices(entry: {
  readonly name?: unknown;
  readonly value?: unknown;
  readonly valueFrom?: unknown;
}): boolean {
  if (entry.name !== VISIBLE_DEVICES.variable) return false;
  return (entry.valueFrom ?? undefined) !== undefined || !HARMLESS.includes(entry.value ?? '');
}
