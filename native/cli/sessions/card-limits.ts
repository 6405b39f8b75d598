// SPDX-License-Identifier: Apache-2.0
import { DEVICES } from '#native/layout.ts';
import { VramError } from '../errors.ts';
import { EVERY_DEVICE, isNumber, uuidBytes } from '../limits.ts';
import type { DeviceLimit } from '../limits.ts';
import { cardsOf, visibleCards } from './cards.ts';
import type { Card, Environment } from './cards.ts';
import type { SessionLimit } from './record.ts';

export interface CardLimits {
  readonly limits: readonly SessionLimit[];
  /** What a person should know: by what the limits go, or what is not known. */
  readonly notes: readonly string[];
}

const NOT_KNOWN = 'whether the limits of all sessions fit the card is not known';
const BY_NUMBER = 'limits go by the numbers that each process gives what it sees (CUDA_VISIBLE_DEVICES)';

/**
 * Which cards each limit holds for. A process counts what it sees, and two processes count differently: only a UUID is the same card
 * in all of them, so that numbers go into the control page only where the UUIDs cannot be known.
 * @param cards as the driver tells; undefined where none can be asked
 * @throws VramError `not-found` or `usage`
 */
export function limitsOnCards(
  limits: readonly DeviceLimit[],
  cards: readonly Card[] | undefined,
  env: Environment,
): CardLimits {
  const numbered = limits.some(({ device }) => uuidBytes(device) === undefined);
  if (cards === undefined) {
    const by = numbered ? `${BY_NUMBER}, and ` : '';
    return { limits, notes: [`no driver could be asked (nvidia-smi): ${by}${NOT_KNOWN}`] };
  }
  const instances = numbered && cards.some(({ mig }) => mig);
  const found = limits.map((limit) => {
    const byInstance = limit.device.startsWith('MIG-') || (instances && uuidBytes(limit.device) === undefined);
    return byInstance ? limit : withCards(limit, cards, env);
  });
  checkOnce(found);
  const mig = `MIG is on: ${BY_NUMBER}, and ${NOT_KNOWN}; name instances by UUID (nvidia-smi -L)`;
  return { limits: found, notes: instances ? [mig] : [...orderNote(limits, cards, env), ...memoryNote(found, cards)] };
}

function withCards(limit: DeviceLimit, cards: readonly Card[], env: Environment): SessionLimit {
  const meant = cardsOf(limit, cards).map(({ uuid }) => uuid);
  if (meant.length === 0)
    throw new VramError('not-found', `there is no GPU ${limit.device}`, { fix: 'nvidia-smi -L lists them' });
  if (meant.length > DEVICES)
    throw new VramError('usage', `${meant.length} GPUs; a session holds at most ${DEVICES}`, {
      fix: 'name those that are meant by --device',
    });
  if (limit.device !== EVERY_DEVICE || env['CUDA_VISIBLE_DEVICES'] === undefined) return { ...limit, cards: meant };
  // It holds on all of them, and is taken to use those that are seen at the start.
  return { ...limit, cards: meant, counted: visibleCards(cards, env).map(({ uuid }) => uuid) };
}

/** `0=4GiB` and the UUID of the same card. */
function checkOnce(limits: readonly SessionLimit[]): void {
  const all = limits.flatMap(({ cards }) => cards ?? []);
  const twice = all.find((uuid, at) => all.indexOf(uuid) !== at);
  if (twice !== undefined)
    throw new VramError('usage', `${twice} has two limits, by number and by UUID`, {
      fix: 'give each GPU one --limit',
    });
}

function orderNote(limits: readonly DeviceLimit[], cards: readonly Card[], env: Environment): string[] {
  const seen = env['CUDA_VISIBLE_DEVICES'] ?? '';
  const numbers = limits.some(({ device }) => isNumber(device) || (device === EVERY_DEVICE && /^\s*[0-9]/.test(seen)));
  const alike = cards.every(({ name }) => name === cards[0]?.name);
  if (!numbers || alike || env['CUDA_DEVICE_ORDER'] === 'PCI_BUS_ID') return [];
  const list = cards.map(({ index, name }) => `${index} is ${name}`).join(', ');
  return [
    `GPUs are numbered as nvidia-smi does (${list}); CUDA may count the fastest first: set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name them by UUID`,
  ];
}

function memoryNote(limits: readonly SessionLimit[], cards: readonly Card[]): string[] {
  const named = new Set(limits.flatMap(({ cards: meant }) => meant ?? []));
  const card = cards.find(({ uuid, memoryBytes }) => memoryBytes === null && named.has(uuid));
  return card === undefined ? [] : [`nvidia-smi does not tell the memory of GPU ${card.index}: ${NOT_KNOWN}`];
}
