// SPDX-License-Identifier: Apache-2.0
/** RFC 9457 problem details, the body of every error that leaves a server of ours. */
export interface Problem {
  /** URN of the error's kind: urn:penstock:problem:<code>. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  /** The field or header that is wrong, as a path (`spec.scaling.minUnits`, `header:Prefer`), where there is one. */
  readonly field?: string;
  /** What the caller can do about it. */
  readonly fix?: string;
  readonly instance?: string;
  readonly [extension: string]: unknown;
}

export const PROBLEM_TYPE = 'application/problem+json';

/** One row of a package's error table. */
export interface ProblemKind {
  readonly status: number;
  readonly title: string;
}

/** An error that knows its answer over HTTP. Packages build theirs from one table, by `problemTable`. */
export class ProblemError extends Error {
  readonly code: string;
  readonly status: number;
  readonly title: string;
  readonly extensions: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: string, kind: ProblemKind, detail: string, options: ProblemOptions = {}) {
    super(detail, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'ProblemError';
    this.code = code;
    this.status = kind.status;
    this.title = kind.title;
    const { cause: _cause, headers, ...extensions } = options;
    this.extensions = extensions;
    this.headers = headers ?? {};
  }

  toProblem(): Problem {
    return {
      type: `urn:penstock:problem:${this.code}`,
      title: this.title,
      status: this.status,
      detail: this.message,
      ...this.extensions,
    };
  }
}

export interface ProblemOptions {
  readonly field?: string;
  readonly fix?: string;
  readonly cause?: unknown;
  /** Response headers that belong to this answer (Retry-After, WWW-Authenticate, Allow). */
  readonly headers?: Readonly<Record<string, string>>;
  readonly [extension: string]: unknown;
}

/** Turns a table of kinds into constructors: `errors('too-large', 'the body has …', {field: 'body'})`. */
export function problemTable<C extends string>(
  kinds: Readonly<Record<C, ProblemKind>>,
): (code: C, detail: string, options?: ProblemOptions) => ProblemError {
  return (code, detail, options) => new ProblemError(code, kinds[code], detail, options);
}
