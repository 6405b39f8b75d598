// SPDX-License-Identifier: Apache-2.0
import { accessSync, constants, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { VramError, codeOf } from './errors.ts';

/** The default of execvp(3) where PATH is not set. */
const DEFAULT_PATH = '/usr/local/bin:/usr/bin:/bin';

/**
 * The file that a shell would execute for a word.
 * @throws VramError `no-command` or `not-executable`
 */
export function findProgram(word: string, path: string | undefined): string {
  if (word.includes('/')) return checkExecutable(word, word);
  // An empty entry is the folder in which one stands.
  const candidates = (path ?? DEFAULT_PATH).split(':').map((folder) => join(folder || '.', word));
  const found = candidates.find((file) => reasonAgainst(file) === undefined);
  if (found !== undefined) return realpathSync(found);
  const refused = candidates.find((file) => reasonAgainst(file) !== 'ENOENT');
  if (refused !== undefined && word !== '') return checkExecutable(refused, word);
  throw new VramError('no-command', `${word === '' ? "''" : word}: command not found`);
}

function checkExecutable(file: string, word: string): string {
  const reason = reasonAgainst(file);
  if (reason === 'ENOENT' || reason === 'ENOTDIR') throw new VramError('no-command', `${word}: no such file`);
  if (reason !== undefined) throw new VramError('not-executable', `${file}: ${reason}`);
  return realpathSync(file);
}

function reasonAgainst(file: string): string | undefined {
  try {
    if (statSync(file).isDirectory()) return 'it is a folder';
    accessSync(file, constants.X_OK);
    return undefined;
  } catch (err) {
    const code = codeOf(err);
    return code === 'EACCES' ? 'this user may not execute it' : code || 'ENOENT';
  }
}
