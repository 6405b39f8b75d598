// SPDX-License-Identifier: Apache-2.0
// Labels of GPU feature discovery (NVIDIA/k8s-device-plugin, internal/lm): `<resource>.count`, `.memory`, `.product`, …
import type { Note } from './findings.ts';

/** GPU feature discovery names its labels so, whatever the device plugin calls its resources. */
const CARD_LABELS = 'nvidia.com/gpu';
const MIB = 2 ** 20;
/** A million GiB: no card has it, and sums of such numbers are still exact. */
const MAX_NUMBER = 2 ** 30;

export interface ResourceLabels {
  /** Cards, or instances of a MIG profile. */
  readonly count?: number;
  /** Bytes of one. NVML's total, of which the driver keeps a little for itself. */
  readonly memory?: number;
  /** `NVIDIA-A100-SXM4-80GB-MIG-1g.10gb-SHARED` */
  readonly product: string;
  /** Above 1: each one is handed out so many times. Absent where it is not shared. */
  readonly replicas?: number;
  /** Since v0.15 of the device plugin. */
  readonly strategy?: 'none' | 'time-slicing' | 'mps';
}

/** Labels of one resource. What is no number, or of no use, counts as absent and is noted. */
export function readResourceLabels(
  labels: Readonly<Record<string, string>>,
  note: Note,
  resource = CARD_LABELS,
): ResourceLabels {
  const integer = (suffix: string): number | undefined => {
    const key = `${resource}.${suffix}`;
    const text = labels[key];
    if (text === undefined) return undefined;
    const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
    if (value <= MAX_NUMBER) return value;
    note(
      'BadLabel',
      `label ${key} is ${JSON.stringify(text)}, which is no number that it could be; it counts as absent`,
    );
    return undefined;
  };
  const count = integer('count');
  const memory = integer('memory');
  const replicas = integer('replicas');
  const strategy = labels[`${resource}.sharing-strategy`];
  return {
    product: labels[`${resource}.product`] ?? '',
    ...(count ? { count } : {}),
    ...(memory ? { memory: memory * MIB } : {}),
    ...(replicas !== undefined && replicas > 1 ? { replicas } : {}),
    ...(strategy === 'none' || strategy === 'time-slicing' || strategy === 'mps' ? { strategy } : {}),
  };
}

/** The product says `-SHARED` exactly where the shared resource keeps the name of the whole one. */
export function keepsItsName(labels: ResourceLabels): boolean {
  return labels.product.endsWith('-SHARED');
}

/** `1g.10gb` of a node whose cards are all split the same way (MIG strategy single); `INVALID` where they are not. */
export function singleMigProfile(labels: ResourceLabels): string | undefined {
  return /-MIG-([0-9a-z.+]+|INVALID)(?:-SHARED)?$/.exec(labels.product)?.[1];
}
