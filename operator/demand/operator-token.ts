// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Signer } from '#base/issuer.ts';
import { INTERNAL_AUDIENCE, OPERATOR_ISSUER, OPERATOR_SUBJECT, OPERATOR_TOKEN_SECONDS } from '#base/wire/claims.ts';
import type { OperatorClaims } from '#base/wire/claims.ts';

/** The operator's own credential at the gateway. */
export interface OperatorToken {
  /** A token that is good for at least half its life. */
  current(): Promise<string>;
  /** The gateway refused the last one: the next call mints anew. */
  discard(): void;
}

export function createOperatorToken(signer: () => Promise<Signer>, clock: Clock): OperatorToken {
  let minted: { readonly token: Promise<string>; readonly at: number } | undefined;
  const mint = async (): Promise<string> => {
    const claims: Omit<OperatorClaims, 'exp'> = { iss: OPERATOR_ISSUER, aud: INTERNAL_AUDIENCE, sub: OPERATOR_SUBJECT };
    return (await signer()).sign({ ...claims }, OPERATOR_TOKEN_SECONDS);
  };
  return {
    current: async () => {
      const now = clock.monotonic();
      if (minted === undefined || now - minted.at >= OPERATOR_TOKEN_SECONDS * 500) minted = { token: mint(), at: now };
      try {
        return await minted.token;
      } catch (err) {
        minted = undefined;
        throw err;
      }
    },
    discard: () => {
      minted = undefined;
    },
  };
}
