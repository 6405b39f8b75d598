// SPDX-License-Identifier: Apache-2.0
// The floor of the gateway's rate: node:http and the same Redis calls, one script run for what arrives in one turn. BARE_PORT, BARE_REDIS.
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { systemClock } from '#base/clock.ts';
import { listen } from '#base/ops-server.ts';
import { silentLogger } from '#base/logger.ts';
import { systemRandom } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import { ENQUEUE_CHUNK } from '#gateway/queue/limits.ts';
import { enqueueArgs } from '#gateway/queue/redis/codec.ts';
import { connect } from '#gateway/queue/redis/connection.ts';
import { ENQUEUE_ARGS } from '#gateway/queue/redis/lua/enqueue.ts';
import { listOf } from '#gateway/queue/redis/replies.ts';
import { runScript } from '#gateway/queue/redis/runner.ts';
import { scripts } from '#gateway/queue/redis/scripts.ts';
import { TurnBatcher } from '#gateway/queue/redis/turn-batcher.ts';
import { newRequest } from './request.ts';

const APP = 'bare';
const CHANNEL = 'penstock:events';
const KEY = `penstock:{${APP}}:m`;
const redis = connect(process.env['BARE_REDIS'] ?? '', 'bench-bare', silentLogger);
await redis.connect();
const arrivals = new TurnBatcher<unknown>({
  perItem: ENQUEUE_ARGS,
  maxWeight: ENQUEUE_CHUNK,
  run: async (_app, _now, args) => {
    const [, , ...answers] = listOf(await runScript(redis, scripts.enqueue, KEY, [CHANNEL, APP, '', ...args]));
    return answers;
  },
});

async function accept(body: Buffer, res: ServerResponse): Promise<void> {
  const id = uuid7(systemClock, systemRandom);
  const request = newRequest(APP, id, body);
  await arrivals.add(APP, enqueueArgs(request), undefined);
  const answer = Buffer.from(JSON.stringify({ ticket: `req_${id}` }));
  res.writeHead(202, { 'content-type': 'application/json', 'content-length': answer.length }).end(answer);
}

function serve(req: IncomingMessage, res: ServerResponse): void {
  const chunks: Buffer[] = [];
  req.on('data', (chunk: Buffer) => chunks.push(chunk));
  req.on('end', () => {
    accept(Buffer.concat(chunks), res).catch((err: unknown) => {
      res.writeHead(500).end(String(err));
    });
  });
}

await listen(createServer(serve), '127.0.0.1', Number(process.env['BARE_PORT']));
