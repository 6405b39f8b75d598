// SPDX-License-Identifier: Apache-2.0
import { gatewayError } from '../errors.ts';
import { onGone } from '../http/exchange.ts';
import type { Exchange } from '../http/exchange.ts';
import { readJson } from '../http/json-body.ts';
import { INTERNAL_BODY_MAX_BYTES, LARGE_BODY_BYTES, LARGE_BODY_MS } from '../limits.ts';
import type { ByteBudget } from './byte-budget.ts';

/**
 * Reads a JSON body and serves it; a large one waits for its room first, unread, and keeps the room until it is served.
 * @throws ProblemError as `readJson`, and 408 for a large body that comes too slowly; ClientGone
 */
export async function withBody<T>(x: Exchange, budget: ByteBudget, serve: (body: unknown) => Promise<T>): Promise<T> {
  const bytes = declaredBytes(x);
  if (bytes <= LARGE_BODY_BYTES) return await serve(await readJson(x, INTERNAL_BODY_MAX_BYTES));
  const gone = new AbortController();
  const off = onGone(x, () => gone.abort());
  const giveBack = await budget.take(bytes, gone.signal);
  try {
    return await serve(await readInTime(x));
  } finally {
    off();
    giveBack();
  }
}

/** What may come: as declared, else all that is allowed. */
function declaredBytes({ req }: Exchange): number {
  const { 'content-length': declared, 'transfer-encoding': chunked } = req.headers;
  if (declared !== undefined) return Math.min(Number(declared), INTERNAL_BODY_MAX_BYTES);
  return chunked === undefined ? 0 : INTERNAL_BODY_MAX_BYTES;
}

async function readInTime(x: Exchange): Promise<unknown> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(
      gatewayError('request-timeout', `the body has not come within ${LARGE_BODY_MS / 1000} s`, {
        field: 'body',
        fix: 'send fewer results in one call, or large ones by upload-url',
      }),
    );
  }, LARGE_BODY_MS);
  try {
    return await Promise.race([readJson(x, INTERNAL_BODY_MAX_BYTES), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
