// SPDX-License-Identifier: Apache-2.0
import { YAMLParseError } from 'yaml';

/**
 * `line 3`, where the parser says at what place of the text it failed, else `it`; for messages without an excerpt of the text, in which
 * there may be a secret. @param cause what the parser threw
 */
export function yamlLine(text: string, cause: unknown): string {
  if (!(cause instanceof YAMLParseError)) return 'it';
  return `line ${text.slice(0, cause.pos[0]).split('\n').length}`;
}
