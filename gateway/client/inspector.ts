// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { gatewayError } from '../errors.ts';
import { JsonScanner } from '../http/json-scanner.ts';
import { bodyTooLarge } from './body-plan.ts';
import type { BodyPlan } from './body-plan.ts';
import { brokenCoding, createDecoder } from './decoding.ts';
import { parseRid } from './idempotency.ts';

/** What is known of a body once all of it went by. */
export interface BodyFacts {
  /** SHA-256 of content type and decoded bytes, hex. */
  readonly digest: string;
  readonly rid: string | undefined;
}

/**
 * Looks at a body as it passes by, in constant memory: inflates, counts, hashes, checks JSON, finds `_rid`.
 * Each call rejects with the ProblemError of the first thing that is wrong.
 */
export interface BodyInspector {
  push(chunk: Uint8Array): Promise<void>;
  end(): Promise<BodyFacts>;
  /** Frees the inflater when the body is given up. */
  close(): void;
}

export function createInspector(plan: BodyPlan): BodyInspector {
  const decoded = inspectDecoded(plan);
  if (plan.coding === 'identity') {
    return {
      push: async (chunk) => decoded.push(chunk),
      end: async () => decoded.end(),
      close: () => {},
    };
  }
  return inflating(decoded, plan.coding);
}

interface DecodedInspector {
  push(chunk: Uint8Array): void;
  end(): BodyFacts;
}

function inspectDecoded({ contentType, json, maxBytes }: BodyPlan): DecodedInspector {
  const digest = createHash('sha256').update(`${contentType}\0`);
  const scanner = json ? new JsonScanner('_rid') : undefined;
  let bytes = 0;
  const refuseBroken = (fault: { reason: string; position: number } | undefined): void => {
    if (fault === undefined) return;
    throw gatewayError('bad-json', `the body is not JSON: ${fault.reason} at byte ${fault.position}`, {
      field: 'body',
      position: fault.position,
      fix: 'send well-formed JSON (RFC 8259) in UTF-8, or another Content-Type',
    });
  };
  return {
    push: (chunk) => {
      bytes += chunk.length;
      if (bytes > maxBytes) throw bodyTooLarge(maxBytes);
      digest.update(chunk);
      refuseBroken(scanner?.push(chunk));
    },
    end: () => {
      refuseBroken(scanner?.end());
      return { digest: digest.digest('hex'), rid: scanner && parseRid(scanner.member()) };
    },
  };
}

/**
 * The inflater's output is looked at piece by piece and thrown away, and nothing is inflated past the first fault: a bomb costs
 * what maxBytes costs, whatever it would become.
 */
function inflating(decoded: DecodedInspector, coding: Exclude<BodyPlan['coding'], 'identity'>): BodyInspector {
  const decoder = createDecoder(coding);
  let failure: unknown;
  const fail = (err: unknown): void => {
    failure ??= err;
    decoder.destroy();
  };
  decoder.on('data', (chunk: Buffer) => {
    try {
      decoded.push(chunk);
    } catch (err) {
      fail(err);
    }
  });
  decoder.on('error', (err) => fail(brokenCoding(coding, err)));
  const settled = Promise.withResolvers<void>();
  decoder.once('end', () => settled.resolve());
  decoder.once('close', () => settled.resolve());

  const check = (): void => {
    if (failure !== undefined) throw failure;
  };
  return {
    push: async (chunk) => {
      check();
      if (!decoder.write(chunk)) {
        await new Promise<void>((resolve) => {
          decoder.once('drain', resolve);
          decoder.once('close', resolve);
        });
      }
      check();
    },
    end: async () => {
      check();
      decoder.end();
      await settled.promise;
      check();
      return decoded.end();
    },
    close: () => decoder.destroy(),
  };
}
