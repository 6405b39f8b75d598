// SPDX-License-Identifier: Apache-2.0
import { Readable, pipeline } from 'node:stream';
import type { Transform } from 'node:stream';
import { constants, createGunzip, createInflate, createZstdDecompress } from 'node:zlib';
import { ProblemError } from '#base/problem.ts';
import { gatewayError } from '../errors.ts';
import { ClientGone } from '../http/client-gone.ts';

/** Content codings that a body may come in (RFC 9110 §8.4.1, RFC 8878). */
export type Coding = 'identity' | 'gzip' | 'deflate' | 'zstd';

/** RFC 9659: a decoder of the zstd coding needs no window above 8 MiB; a stream that asks for more asks for our memory. */
const ZSTD_WINDOW_LOG_MAX = 23;

const RFCS: Readonly<Record<Exclude<Coding, 'identity'>, string>> = {
  gzip: 'RFC 1952',
  deflate: 'zlib, RFC 1950',
  zstd: 'RFC 8878',
};

type Decoder = Transform & { readonly bytesWritten: number };

export function createDecoder(coding: Exclude<Coding, 'identity'>): Decoder {
  if (coding === 'gzip') return createGunzip();
  if (coding === 'deflate') return createInflate();
  return createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX } });
}

/**
 * The decoded bytes of a body, no more ahead of their reader than a stream buffers: leaving the loop ends the decoder and the source.
 * @throws ProblemError 400 when the bytes are not whole and valid; what the source throws
 */
export async function* decoded(
  source: AsyncIterable<Uint8Array>,
  coding: Exclude<Coding, 'identity'>,
): AsyncGenerator<Buffer, void, undefined> {
  let given = 0;
  async function* counted(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of source) {
      given += chunk.length;
      yield chunk;
    }
  }
  const decoder = createDecoder(coding);
  // Its errors arrive by the loop below.
  pipeline(Readable.from(counted(), { objectMode: false }), decoder, () => {});
  try {
    for await (const chunk of decoder) yield chunk as Buffer;
  } catch (err) {
    throw err instanceof ProblemError || err instanceof ClientGone ? err : brokenCoding(coding, err);
  }
  // Node reads one stream and drops what follows: bytes that nobody has checked.
  if (decoder.bytesWritten < given) throw brokenCoding(coding, new Error('bytes follow the end of the stream'));
}

export function brokenCoding(coding: Coding, cause: unknown): Error {
  const rfc = coding === 'identity' ? '' : ` (${RFCS[coding]})`;
  return gatewayError('bad-body', `the body says Content-Encoding: ${coding} and is not whole, valid ${coding}`, {
    field: 'body',
    fix: `send a complete ${coding} stream${rfc}, or leave Content-Encoding out`,
    cause,
  });
}
