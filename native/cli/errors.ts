// SPDX-License-Identifier: Apache-2.0
/** One row: the exit status of the commands that do not become another program, and what the code means. */
export interface ErrorKind {
  readonly exit: number;
  readonly title: string;
}

/** Codes and exit statuses are stable: scripts rely on them. `run` and `attach` answer 125, whatever the code, but for 126 and 127. */
export const ERRORS = {
  'not-covered': {
    exit: 1,
    title: 'doctor: the process is not, or would not be, held to a limit, or cannot be looked into',
  },
  usage: { exit: 2, title: 'the command line is wrong' },
  'not-found': { exit: 3, title: 'there is no such session, process or device' },
  exists: { exit: 4, title: 'there is a session of that name, with other limits' },
  'in-use': { exit: 5, title: 'processes of the session live' },
  expired: { exit: 6, title: 'the session has expired or is closed' },
  overcommit: { exit: 7, title: 'the limits of all sessions together exceed the memory of the card' },
  'not-private': { exit: 8, title: 'a file or folder belongs to, or is open to, another user' },
  damaged: { exit: 9, title: "a session's files are not what they should be" },
  'not-built': { exit: 10, title: 'the objects that are to be preloaded are not there' },
  'unusable-path': { exit: 11, title: 'an object cannot be preloaded from this folder' },
  nested: { exit: 12, title: 'the shell is inside another session already' },
  busy: { exit: 13, title: 'another penstock-vram holds the lock for too long' },
  storage: { exit: 14, title: 'the system refused to read or write' },
  'not-installed': { exit: 15, title: 'a package that the command needs is not installed' },
  'not-executable': { exit: 126, title: 'the command cannot be executed' },
  'no-command': { exit: 127, title: 'the command is not there' },
} as const satisfies Readonly<Record<string, ErrorKind>>;

export type ErrorCode = keyof typeof ERRORS;

/** Of `run` and `attach`, as timeout(1), nohup(1) and docker(1) have it: told apart from what the program itself answers. */
export const EXIT_BEFORE_PROGRAM = 125;

/** What went wrong, for the person at the terminal: one sentence, and what to do about it. */
export class VramError extends Error {
  readonly code: ErrorCode;
  readonly fix: string | undefined;

  constructor(code: ErrorCode, message: string, options: { readonly fix?: string; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'VramError';
    this.code = code;
    this.fix = options.fix;
  }
}

/** What the system's refusals mean to a person. */
const MEANINGS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not do that',
  EPERM: 'this user may not do that',
  EDQUOT: 'the quota of this user is used up',
  EEXIST: 'there is something of this name already',
  EISDIR: 'it is a folder, where a file is needed',
  ENOENT: 'there is no such file or folder',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a part of this path is a file, where a folder is needed',
  ELOOP: 'it is a symbolic link, where none is followed',
  EROFS: 'the file system is read-only',
  EMFILE: 'too many files are open',
};

export function codeOf(err: unknown): string {
  return err instanceof Error && 'code' in err ? String(err.code) : '';
}

/** A refusal of the system as an error of ours; an error of ours as it is. */
export function explain(err: unknown): VramError | undefined {
  if (err instanceof VramError) return err;
  const meaning = MEANINGS[codeOf(err)];
  if (meaning === undefined || !(err instanceof Error)) return undefined;
  const path = 'path' in err && typeof err.path === 'string' ? `${err.path}: ` : '';
  return new VramError('storage', `${path}${meaning}`, { cause: err });
}
