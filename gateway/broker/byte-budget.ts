// SPDX-License-Identifier: Apache-2.0
import { ClientGone } from '../http/client-gone.ts';

/** Memory for large bodies, handed out in the order of asking. */
export interface ByteBudget {
  /** Waits until so many bytes are free; answers how to give them back. @throws ClientGone when `gone` fires first */
  take(bytes: number, gone: AbortSignal): Promise<() => void>;
}

interface Waiter {
  readonly bytes: number;
  readonly admit: () => void;
}

export function createByteBudget(limit: number): ByteBudget {
  const waiting = new Set<Waiter>();
  let free = limit;

  const admit = (): void => {
    for (const waiter of waiting) {
      // Nobody overtakes: a large body would wait for ever behind small ones.
      if (waiter.bytes > free) return;
      waiting.delete(waiter);
      free -= waiter.bytes;
      waiter.admit();
    }
  };
  const giveBack = (bytes: number): (() => void) => {
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      free += bytes;
      admit();
    };
  };
  return {
    take: (asked, gone) =>
      new Promise((resolve, reject) => {
        const bytes = Math.min(asked, limit);
        const leave = (): void => {
          waiting.delete(waiter);
          reject(new ClientGone('the connection ended before there was room for the body'));
          admit();
        };
        const waiter: Waiter = {
          bytes,
          admit: () => {
            gone.removeEventListener('abort', leave);
            resolve(giveBack(bytes));
          },
        };
        if (gone.aborted) return leave();
        gone.addEventListener('abort', leave, { once: true });
        waiting.add(waiter);
        admit();
      }),
  };
}
