// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A unit as a real process, started as a driver would. */
export interface UnitProcess {
  readonly child: ChildProcess;
  readonly pid: number;
  /** Everything it wrote to standard error so far. */
  log(): string;
  readonly exit: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
}

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));

/** A folder for one test's handlers and files. */
export function scratchDir(): string {
  return mkdtempSync(join(tmpdir(), 'penstock-unit-'));
}

/** Claims as the operator would sign them; only what the unit reads of them. */
export function unsignedToken(unit: string): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none' })}.${part({ sub: unit, namespace: 'default', app: 'demo' })}.`;
}

export interface UnitOptions {
  /** As the leader of a process group of its own. */
  readonly detached?: boolean;
}

export function startUnit(
  dir: string,
  settings: Readonly<Record<string, string | number | boolean>>,
  token = unsignedToken('demo-1'),
  { detached = false }: UnitOptions = {},
): UnitProcess {
  // Of its own: two units of one folder are two units.
  const tokenFile = join(dir, `token-${randomUUID()}`);
  writeFileSync(tokenFile, token, { mode: 0o600 });
  const env = { ...process.env, PENSTOCK_UNIT_TOKEN_FILE: tokenFile, PENSTOCK_LOG_LEVEL: 'debug' };
  for (const name of Object.keys(settings)) Object.assign(env, { [name]: String(settings[name]) });
  const child = spawn(process.execPath, [MAIN], { cwd: dir, env, detached, stdio: ['pipe', 'inherit', 'pipe'] });
  let log = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString('utf8');
  });
  const exit = once(child, 'exit').then(([code, signal]: unknown[]) => ({
    code: code as number | null,
    signal: signal as NodeJS.Signals | null,
  }));
  return { child, pid: child.pid ?? 0, log: () => log, exit };
}
