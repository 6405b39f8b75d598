// SPDX-License-Identifier: Apache-2.0
// A handler: counts the words of a text. The text is the body itself, or member `text` of a JSON body.
import type { HandlerContext, HandlerRequest, HandlerResult } from '#worker/handler.ts';

/** At most so many requests in one call of predict. */
export const batchSize = 8;

let words: Intl.Segmenter;
let inputError: HandlerContext['inputError'];

/** Once, before the first request: the place to load a model. */
export function load(context: HandlerContext): void {
  words = new Intl.Segmenter('en', { granularity: 'word' });
  inputError = (message) => context.inputError(message);
}

/** One result for each request, in the same order; an error stands for its own request only. */
export function predict(batch: readonly HandlerRequest[]): HandlerResult[] {
  return batch.map((request) => {
    const text = textOf(request);
    if (text === undefined) return inputError('the body must be a text, or JSON like {"text": "count these words"}');
    const found = [...words.segment(text)].filter(({ isWordLike }) => isWordLike === true);
    const different = new Set(found.map(({ segment }) => segment.toLowerCase()));
    return { words: found.length, different: different.size, characters: text.length };
  });
}

function textOf(request: HandlerRequest): string | undefined {
  if (!request.contentType.startsWith('application/json')) return request.text();
  const body = request.json();
  const text: unknown = typeof body === 'object' && body !== null && 'text' in body ? body.text : undefined;
  return typeof text === 'string' ? text : undefined;
}
