// SPDX-License-Identifier: Apache-2.0
/** What one check found. `bad`: the process is not, or would not be, covered; `unknown`: it cannot be told from here. */
export interface Finding {
  /** Stable name: objects, noexec, state-dir, program, launcher, script, format, architecture, static, musl, setuid, capabilities, preload, environment, region. */
  readonly check: string;
  readonly result: 'ok' | 'bad' | 'unknown';
  readonly detail: string;
  readonly fix?: string;
}

export const ok = (check: string, detail: string): Finding => ({ check, result: 'ok', detail });
export const bad = (check: string, detail: string, fix: string): Finding => ({ check, result: 'bad', detail, fix });
export const unknown = (check: string, detail: string, fix: string): Finding => ({
  check,
  result: 'unknown',
  detail,
  fix,
});

export type Verdict = 'yes' | 'no' | 'unknown';

export function verdictOf(findings: readonly Finding[]): Verdict {
  if (findings.some(({ result }) => result === 'bad')) return 'no';
  return findings.some(({ result }) => result === 'unknown') ? 'unknown' : 'yes';
}
