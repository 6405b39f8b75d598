// SPDX-License-Identifier: Apache-2.0
// The demo's handler: reads the text of a page image. Everything it needs lies in npm packages; nothing is downloaded.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createWorker } from 'tesseract.js';
import type { Worker } from 'tesseract.js';

let reader: Worker | undefined;
let inputError: (message: string) => Error;

export async function load(context: { inputError(message: string): Error }): Promise<void> {
  inputError = (message) => context.inputError(message);
  const data = dirname(createRequire(import.meta.url).resolve('@tesseract.js-data/eng/package.json'));
  reader = await createWorker('eng', 1, {
    langPath: join(data, '4.0.0'),
    gzip: true,
    cacheMethod: 'none',
    // An image that cannot be read rejects the one call; without a handler it would also be thrown globally.
    errorHandler: () => {},
  });
}

export function predict(batch: readonly { readonly body: Uint8Array }[]): Promise<unknown>[] {
  return batch.map(({ body }) => read(body));
}

async function read(image: Uint8Array): Promise<{ text: string; confidence: number }> {
  if (reader === undefined) throw new Error('load() has not run');
  try {
    const { data } = await reader.recognize(Buffer.from(image));
    return { text: data.text, confidence: data.confidence };
  } catch (err) {
    throw inputError(`this is no image that can be read: ${err instanceof Error ? err.message : String(err)}`);
  }
}
