// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Random } from '#base/random.ts';
import { MASTER_MIN_BYTES } from './keys.ts';

/**
 * The secret from which all keys of the gateway come.
 * @throws Error when it cannot be read or is too short
 */
export function readSecret(file: string): Uint8Array {
  return checked(readFileSync(file), file);
}

/** The same, made when it is not there yet: for one gateway with a data folder of its own. */
export function readOrMakeSecret(file: string, random: Random): Uint8Array {
  mkdirSync(dirname(file), { recursive: true });
  const fresh = Buffer.from(random.bytes(MASTER_MIN_BYTES)).toString('hex');
  try {
    // Exclusive: of two first starts one makes it, and both read the same.
    writeFileSync(file, fresh, { flag: 'wx', mode: 0o600, flush: true });
  } catch (err) {
    if (!(err instanceof Error && 'code' in err && err.code === 'EEXIST')) throw err;
  }
  return readSecret(file);
}

function checked(bytes: Buffer, file: string): Uint8Array {
  const secret = Buffer.from(bytes.toString('latin1').trimEnd(), 'latin1');
  if (secret.length >= MASTER_MIN_BYTES) return secret;
  throw new Error(`${file} holds ${secret.length} bytes, the gateway's secret needs at least ${MASTER_MIN_BYTES}`);
}
