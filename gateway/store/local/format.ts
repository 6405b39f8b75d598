// SPDX-License-Identifier: Apache-2.0
import type { FileHandle } from 'node:fs/promises';
import { storeError } from '../errors.ts';
import { checkContentType } from '../body.ts';

/**
 * A stored file = a header of fixed size, then the bytes. Content type and bytes are one file, so that one rename shows both or
 * neither, and one number taken from its size is the object's size.
 */
export const HEADER_BYTES = 512;
const MAGIC = 'penstock-object 1 ';

/** One line of text, padded with blanks, so that `head -c 512` tells a person what a file is. */
export function encodeHeader(contentType: string): Buffer {
  const line = `${MAGIC}${JSON.stringify({ contentType: checkContentType(contentType) })}`;
  return Buffer.from(`${line.padEnd(HEADER_BYTES - 1)}\n`, 'latin1');
}

/** @throws StoreError `unavailable` when the file is not one of ours or was cut */
export function decodeHeader(header: Buffer, key: string): string {
  const text = header.toString('latin1');
  if (header.length === HEADER_BYTES && text.startsWith(MAGIC)) {
    try {
      const meta: unknown = JSON.parse(text.slice(MAGIC.length));
      if (typeof meta === 'object' && meta !== null && 'contentType' in meta)
        return checkContentType(String(meta.contentType));
    } catch {
      // Falls through: a header that does not parse is a damaged file, whatever the parser says.
    }
  }
  throw storeError('unavailable', `the file of object ${key} is damaged: it has no header of this store`, {
    fix: 'remove the file or restore it from a backup',
  });
}

/** Reads the header from an open file. */
export async function readHeader(handle: FileHandle, key: string): Promise<string> {
  const header = Buffer.alloc(HEADER_BYTES);
  const { bytesRead } = await handle.read(header, 0, HEADER_BYTES, 0);
  return decodeHeader(header.subarray(0, bytesRead), key);
}
