// SPDX-License-Identifier: Apache-2.0
import { DEVICES } from '#native/layout.ts';
import { parseDuration } from '../durations.ts';
import { VramError } from '../errors.ts';
import { HELP_SIZES, HELP_TIMES } from '../help.ts';
import { parseLimits } from '../limits.ts';
import type { SessionRequest } from './open-session.ts';

/** Options of the commands that make sessions. */
export const REQUEST_OPTIONS = {
  limit: { type: 'string', multiple: true },
  device: { type: 'string', multiple: true },
  ttl: { type: 'string' },
  overcommit: { type: 'boolean', default: false },
  'report-total': { type: 'string', default: 'limit' },
  managed: { type: 'string', default: 'charged' },
} as const;

export const REQUEST_HELP = [
  [
    '--limit SIZE',
    `GPU memory that the programs of the session may hold together, on each GPU of the machine. ${HELP_SIZES}`,
  ],
  [
    '--limit DEVICE=SIZE',
    'separate limits, once for each GPU: --limit 0=4GiB --limit GPU-8a5c…=2GiB. GPUs that are not named refuse every allocation. SIZE may be `unlimited`',
  ],
  [
    '--device DEVICE',
    'the GPU that --limit SIZE is meant for (may be repeated); others refuse every allocation. A number is the one that nvidia-smi shows (the order of the PCI bus), whatever CUDA_VISIBLE_DEVICES says; a UUID (nvidia-smi -L) means the same GPU or MIG instance. Without nvidia-smi, and where MIG is on, a number counts what each process sees, and a note says so. What the program sees is not changed',
  ],
  [
    '--ttl TIME',
    `how long the session is kept while no process uses it; default: $PENSTOCK_VRAM_TTL, else 1h. The time does not run while a process lives. ${HELP_TIMES}`,
  ],
  [
    '--overcommit',
    "allow limits of your sessions that exceed the card's memory together; otherwise that is refused. Without nvidia-smi it cannot be known, and a note says so",
  ],
  [
    '--report-total limit|physical',
    'the total that programs are told of a GPU (cuDeviceTotalMem): the limit (default), or that of the card',
  ],
  ['--managed charged|uncharged', 'whether managed memory (cuMemAllocManaged) counts; default: charged'],
] as const;

interface RequestValues {
  readonly limit?: readonly string[] | undefined;
  readonly device?: readonly string[] | undefined;
  readonly ttl?: string | undefined;
  readonly overcommit: boolean;
  readonly 'report-total': string;
  readonly managed: string;
}

/** @throws VramError `usage` */
export function requestOf(values: RequestValues, defaultTtl: string): Omit<SessionRequest, 'name' | 'ephemeral'> {
  return {
    limits: parseLimits(values.limit ?? [], values.device ?? [], DEVICES),
    ttlSeconds: parseDuration(values.ttl ?? defaultTtl, values.ttl === undefined ? 'PENSTOCK_VRAM_TTL' : '--ttl'),
    ttlNamed: values.ttl !== undefined,
    overcommit: values.overcommit,
    report: oneOf('--report-total', values['report-total'], ['limit', 'physical']),
    managed: oneOf('--managed', values.managed, ['charged', 'uncharged']),
  };
}

function oneOf<T extends string>(option: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((word) => word === value);
  if (found !== undefined) return found;
  throw new VramError('usage', `${option}: ${JSON.stringify(value)} is not one of ${allowed.join(', ')}`);
}
