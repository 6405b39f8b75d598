// SPDX-License-Identifier: Apache-2.0
import { LineCounter, parseAllDocuments } from 'yaml';
import type { FieldError } from './field-error.ts';

/** Largest manifest text: the API server's own limit for one request body is 3 MiB, etcd's for one object 1.5 MiB. */
export const MAX_MANIFEST_BYTES = 1024 * 1024;
/** Most documents in one text. */
export const MAX_DOCUMENTS = 1000;
/** Most nodes that aliases may expand to, against texts that grow when read ("billion laughs"). */
const MAX_ALIASES = 1000;

/** One document of a text and the line on which it starts (from 1). */
export interface ParsedDocument {
  value: unknown;
  line: number;
}

export type Parsed = { ok: true; documents: ParsedDocument[] } | { ok: false; errors: FieldError[] };

/**
 * YAML or JSON text → its documents, empty ones left out. A repeated key is an error, as under strict validation;
 * `3.0` becomes 3, as kubectl makes it. Paths of errors are `line N`.
 */
export function parseManifests(text: string): Parsed {
  if (Buffer.byteLength(text) > MAX_MANIFEST_BYTES) {
    return refuse('', `must be at most ${MAX_MANIFEST_BYTES} bytes long`);
  }
  const lineCounter = new LineCounter();
  const parsed = [...parseAllDocuments(text, { lineCounter, prettyErrors: false, uniqueKeys: true })];
  if (parsed.length > MAX_DOCUMENTS) return refuse('', `must hold at most ${MAX_DOCUMENTS} documents`);
  const errors = parsed
    .flatMap((document) => document.errors)
    .map(({ pos, message }) => ({ path: `line ${lineCounter.linePos(pos[0]).line}`, message }));
  if (errors.length > 0) return { ok: false, errors };
  const documents: ParsedDocument[] = [];
  for (const document of parsed) {
    const line = lineCounter.linePos(document.contents?.range?.[0] ?? 0).line;
    try {
      const value: unknown = document.toJS({ maxAliasCount: MAX_ALIASES });
      if (value !== null && value !== undefined) documents.push({ value, line });
    } catch (error) {
      return refuse(`line ${line}`, error instanceof Error ? error.message : String(error));
    }
  }
  return { ok: true, documents };
}

function refuse(path: string, message: string): Parsed {
  return { ok: false, errors: [{ path, message }] };
}
