// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Agent, request } from 'undici';
import { UNIT_ENV } from '#base/wire/unit-env.ts';
import { until } from '#test/until.ts';
import { startChild } from './child.ts';
import type { GatewayReady, GatewaySettings } from './gateway-process.ts';
import { quantile } from './statistics.ts';

const WARM_UP = 100;
const SAMPLES = 300;
const UNIT_MAIN = fileURLToPath(new URL('../../worker-runtime/main.ts', import.meta.url));
const HANDLER = 'export const predict = (batch) => batch.map(() => ({ ok: true }));\n';

export interface IdleLatency {
  readonly p50: number;
  readonly p90: number;
  readonly samples: number;
}

/** Milliseconds from POST with `Prefer: wait` to the whole result, one request at a time, through a real gateway and a real unit. */
export async function measureIdleLatency(redisUrl: string, folder: string): Promise<IdleLatency> {
  const apiKey = randomBytes(16).toString('hex');
  const settings: GatewaySettings = { redisUrl, folder, apiKey };
  const gateway = await startChild<GatewayReady>('./gateway-process.ts', settings);
  const unit = await startUnit(gateway.ready, folder);
  const dispatcher = new Agent({ connections: 1 });
  const url = `http://127.0.0.1:${gateway.ready.clientPort}/v1/noop/infer`;
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', prefer: 'wait=30' };
  const run = async (n: number): Promise<number> => {
    const body = JSON.stringify({ n, salt: apiKey });
    const began = performance.now();
    const answer = await request(url, { method: 'POST', dispatcher, headers, body });
    const text = await answer.body.text();
    const took = performance.now() - began;
    if (answer.statusCode !== 200) throw new Error(`no result but ${answer.statusCode}: ${text}`);
    return took;
  };
  try {
    const took: number[] = [];
    for (let n = 0; n < WARM_UP + SAMPLES; n++) {
      const ms = await run(n);
      if (n >= WARM_UP) took.push(ms);
    }
    return { p50: quantile(took, 0.5), p90: quantile(took, 0.9), samples: took.length };
  } finally {
    await dispatcher.close();
    await unit.stop();
    await gateway.stop();
  }
}

async function startUnit(gateway: GatewayReady, folder: string): Promise<{ stop(): Promise<void> }> {
  const [handler, tokenFile, readyFile] = ['noop.ts', 'token', 'ready'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(handler, HANDLER);
  writeFileSync(tokenFile, gateway.token, { mode: 0o600 });
  const env = {
    ...process.env,
    [UNIT_ENV.brokerUrl]: gateway.internalUrl,
    [UNIT_ENV.unitTokenFile]: tokenFile,
    [UNIT_ENV.archetype]: 'Handler',
    [UNIT_ENV.handler]: handler,
    [UNIT_ENV.readyFile]: readyFile,
    [UNIT_ENV.parentPipe]: 'true',
  };
  const stdio = process.env['BENCH_DEBUG'] ? 'inherit' : 'ignore';
  const child = spawn(process.execPath, [UNIT_MAIN], { cwd: folder, env, stdio: ['pipe', stdio, stdio] });
  const exited = once(child, 'exit');
  await until(() => child.exitCode !== null || existsSync(readyFile), {
    what: 'the unit to be ready',
    timeoutMs: 30_000,
  });
  if (child.exitCode !== null) throw new Error(`the unit ended with ${child.exitCode}; BENCH_DEBUG=1 shows why`);
  return {
    stop: async () => {
      child.stdin.end();
      await exited;
    },
  };
}
