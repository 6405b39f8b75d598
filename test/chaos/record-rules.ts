// SPDX-License-Identifier: Apache-2.0
import { isDeepStrictEqual } from 'node:util';
import type { RequestRecord } from '#gateway/queue/lease-queue.ts';

/**
 * What in a record contradicts itself: timeline, budgets, epochs, times.
 * @param discarded somebody asked for its removal from the dead letters
 */
export function* wrongIn(record: RequestRecord, discarded: boolean): Iterable<string> {
  yield* budgets(record);
  yield* death(record, discarded);
  yield* times(record);
}

function* budgets({ id, attempts, failures, losses, retry, state }: RequestRecord): Iterable<string> {
  const ended = (...kinds: string[]): number => attempts.filter(({ outcome }) => kinds.includes(outcome ?? '')).length;
  if (ended('handler', 'timeout', 'input') !== failures)
    yield `miscounted: ${id} has failures ${failures} in ${show(attempts)}`;
  // A result that came after its lease had run out: the loss was counted by then.
  const late = state === 'succeeded' && losses === ended('lost') + 1;
  if (ended('lost') !== losses && !late) yield `miscounted: ${id} has losses ${losses} in ${show(attempts)}`;
  if (failures > retry.maxAttempts || losses > retry.maxLosses + 1)
    yield `too often: ${id} was tried ${show(attempts)}`;
}

function* death(record: RequestRecord, discarded: boolean): Iterable<string> {
  const { id, attempts, failures, losses, retry, state, deadLetter, redrivenAs } = record;
  const spent = failures >= retry.maxAttempts || losses > retry.maxLosses;
  const died = state === 'failed' && spent && attempts.at(-1)?.outcome !== 'input';
  const left = redrivenAs !== undefined || discarded;
  if (deadLetter ? !died || redrivenAs !== undefined : died && !left)
    yield `dead letters: ${id} is ${state} after ${show(attempts)}, dead letter: ${deadLetter}`;
}

function* times({ id, attempts, epoch, deadline, finishedAt, state }: RequestRecord): Iterable<string> {
  const epochs = attempts.map((one) => one.epoch);
  const growing = [...new Set(epochs)].toSorted((a, b) => a - b);
  if (!isDeepStrictEqual(epochs, growing) || (epochs.at(-1) ?? 0) > epoch)
    yield `miscounted: ${id} has epochs ${epochs.join()} of ${epoch}`;
  if (deadline !== undefined && attempts.some(({ leasedAt }) => leasedAt >= deadline))
    yield `late: ${id} ran after its deadline`;
  if (state === 'expired' && finishedAt !== undefined && finishedAt < (deadline ?? Infinity))
    yield `early: ${id} expired ${(deadline ?? Infinity) - finishedAt} ms before its deadline`;
}

function show(attempts: RequestRecord['attempts']): string {
  return attempts.map(({ epoch, unit, outcome }) => `${epoch} ${unit} ${outcome}`).join(', ') || 'no attempts';
}
