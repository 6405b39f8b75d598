// SPDX-License-Identifier: Apache-2.0
// The programs in Go of this benchmark, built from their modules.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

const SOURCES = resolve(import.meta.dirname, 'webhook-peer');
/** Modules are fetched and compiled once; two cores take some minutes for it. */
const BUILD_LIMIT_MS = 15 * 60_000;
const INSTALL =
  'apt-get install -y golang-go (Go 1.21 or later: it brings the one that the modules ask for; GO=/path/to/go names another)';

export interface GoPrograms {
  /** The minimal webhook. */
  readonly peer: string;
  /** The API server's part. */
  readonly load: string;
}

/** @throws Error that says what to install, or what the compiler said */
export function buildGoPrograms(): GoPrograms {
  const cache = process.env['PENSTOCK_CACHE'] ?? join(homedir(), '.cache/penstock');
  const folder = join(cache, 'webhook-peer');
  mkdirSync(folder, { recursive: true });
  const go = process.env['GO'] || 'go';
  const programs = { peer: join(folder, 'peer'), load: join(folder, 'load') };
  build(go, '.', programs.peer);
  build(go, './load', programs.load);
  return programs;
}

function build(go: string, what: string, out: string): void {
  const { GOFLAGS: _flags, ...env } = process.env;
  const run = spawnSync(go, ['build', '-mod=readonly', '-trimpath', '-buildvcs=false', '-o', out, what], {
    cwd: SOURCES,
    env: { ...env, CGO_ENABLED: '0' },
    encoding: 'utf8',
    timeout: BUILD_LIMIT_MS,
  });
  if (run.error !== undefined && 'code' in run.error && run.error.code === 'ENOENT')
    throw new Error(`the benchmark's peer is a program in Go, and ${go} was not found: ${INSTALL}`);
  if (run.error !== undefined) throw run.error;
  if (run.status !== 0) throw new Error(`go build ${what}: ${run.stderr.slice(-4000)}\nneeded: ${INSTALL}`);
}
