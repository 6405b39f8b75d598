// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { cpuSeconds } from './cpu-time.ts';

const run = promisify(execFile);
/** Beyond the time that was asked for: TLS, and what is in flight at the end, on a machine that does other things, too. */
const GRACE_MS = 60_000;

/** As test/bench/webhook-peer/load prints it; times in milliseconds. */
export interface LoadResult {
  readonly count: number;
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** At a rate: how late the load itself was with a review, which counts in the times above. */
  readonly lateP99: number;
  /** CPU seconds of the load's own process, and how long it ran. */
  readonly cpu: number;
  readonly seconds: number;
  /** CPU seconds of the server, all its threads. */
  readonly serverCpu: number;
}

export interface LoadTarget {
  readonly pid: number;
  readonly port: number;
}

export interface LoadPlan {
  /** The program. */
  readonly load: string;
  /** File of reviews. */
  readonly reviews: string;
  readonly seconds: number;
  readonly count?: number;
  /** Reviews a second, whatever comes back; absent: as many as are answered, `inFlight` at a time. */
  readonly rate?: number;
  readonly inFlight?: number;
  /** The core of the load. */
  readonly core: number;
}

/** @throws Error when a review was not answered, or not with a yes */
export async function loadServer(target: LoadTarget, plan: LoadPlan): Promise<LoadResult> {
  const { load, reviews, seconds, count, rate, inFlight = 16, core } = plan;
  const bounds = [...(count === undefined ? [] : ['-count', String(count)]), ...(rate ? ['-rate', String(rate)] : [])];
  const url = `https://127.0.0.1:${target.port}`;
  const args = ['-url', url, '-reviews', reviews, '-in-flight', String(inFlight), '-seconds', String(seconds)];
  const before = cpuSeconds(target.pid);
  const { stdout } = await run('taskset', ['-c', String(core), load, ...args, ...bounds], {
    timeout: seconds * 1000 + GRACE_MS,
  });
  const result = JSON.parse(stdout) as Omit<LoadResult, 'serverCpu'>;
  return { ...result, serverCpu: cpuSeconds(target.pid) - before };
}
