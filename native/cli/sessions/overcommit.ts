// SPDX-License-Identifier: Apache-2.0
import { VramError } from '../errors.ts';
import { formatLimitSize } from '../limits.ts';
import { formatSize } from '../sizes.ts';
import type { Card } from './cards.ts';
import type { SessionLimit } from './record.ts';

export interface PromisedShares {
  readonly session: string;
  readonly limits: readonly SessionLimit[];
}

export interface Overcommit {
  readonly card: Card;
  readonly memoryBytes: number;
  readonly promisedBytes: number;
  readonly sessions: readonly string[];
}

/** Cards on which the sessions are promised more than there is. Without a limit a session is promised the whole card. */
export function overcommits(cards: readonly Card[], sessions: readonly PromisedShares[]): Overcommit[] {
  return cards.flatMap((card) => {
    const { uuid, memoryBytes } = card;
    if (memoryBytes === null) return [];
    const shares = sessions.flatMap(({ session, limits }) =>
      limits
        .filter(({ cards: meant, counted = meant }) => counted?.includes(uuid) === true)
        .map(({ limit }) => ({ session, bytes: limit ?? memoryBytes })),
    );
    const promisedBytes = shares.reduce((sum, { bytes }) => sum + bytes, 0);
    if (promisedBytes <= memoryBytes) return [];
    return [{ card, memoryBytes, promisedBytes, sessions: [...new Set(shares.map(({ session }) => session))] }];
  });
}

export function overcommitText({ card, memoryBytes, promisedBytes, sessions }: Overcommit): string {
  // To the byte where both would read alike.
  const format = formatSize(memoryBytes) === formatSize(promisedBytes) ? formatLimitSize : formatSize;
  return `GPU ${card.index} (${card.name}) has ${format(memoryBytes)}, and ${sessions.join(', ')} would be promised ${format(promisedBytes)}`;
}

export function overcommitError(found: readonly Overcommit[]): VramError {
  return new VramError('overcommit', found.map(overcommitText).join('; '), {
    fix: 'take a smaller --limit, name the GPU by --device, release a session, or say --overcommit',
  });
}
