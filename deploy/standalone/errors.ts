// SPDX-License-Identifier: Apache-2.0
/** Standalone cannot start with this input; the message is for the person at the terminal. */
export class UsageError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UsageError';
  }
}

/** What the system's refusals mean to a person. */
const MEANINGS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not do that',
  EADDRINUSE: 'another program uses this port; choose another one, or 0 for any free one',
  EADDRNOTAVAIL: 'this machine has no such address',
  EAI_AGAIN: 'this name cannot be resolved',
  EEXIST: 'there is a file of this name, where a folder is needed',
  EISDIR: 'it is a folder, where a file is needed',
  ENOENT: 'there is no such file or folder',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a part of this path is a file, where a folder is needed',
  ENOTFOUND: 'this name cannot be resolved',
  EROFS: 'the file system is read-only',
};

/**
 * Runs a step of the start whose failure has its cause in what the person gave (`what` names it): said in a sentence, without a
 * stack. @throws UsageError
 */
export async function explained<T>(what: string, step: () => T | Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (err) {
    if (err instanceof UsageError) throw err;
    throw new UsageError(`${what}: ${reasonOf(err)}`, { cause: err });
  }
}

function reasonOf(err: unknown): string {
  if (!(err instanceof Error)) return String(err);
  const meaning = 'code' in err ? MEANINGS[String(err.code)] : undefined;
  return meaning === undefined ? err.message : `${meaning}${placeOf(err)}`;
}

/** The path or the port that the system refused, when it is told. */
function placeOf(err: Error): string {
  if ('port' in err && typeof err.port === 'number') return ` (port ${err.port})`;
  return 'path' in err && typeof err.path === 'string' ? ` (${err.path})` : '';
}
