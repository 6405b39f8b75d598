// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { closeServer, listen } from '#base/ops-server.ts';
import { aDemand } from '../decide/testing.ts';
import { createGatewayClient } from './gateway-client.ts';
import type { GatewayClient } from './gateway-client.ts';

let server: Server | undefined;
let client: GatewayClient | undefined;

afterEach(async () => {
  await client?.close();
  if (server?.listening) await closeServer(server);
});

interface Seen {
  readonly method: string;
  readonly path: string;
  readonly token: string;
  readonly body: string;
}

async function aClient(answer: (seen: Seen, response: ServerResponse) => void): Promise<GatewayClient> {
  let minted = 0;
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const { method = '', url: path = '', headers } = request;
    answer({ method, path, token: headers.authorization ?? '', body }, response);
  };
  server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
  const port = await listen(server, '127.0.0.1', 0);
  let token = 'token-0';
  client = createGatewayClient({
    url: `http://127.0.0.1:${port}/`,
    token: {
      current: async () => token,
      discard: () => {
        token = `token-${++minted}`;
      },
    },
  });
  return client;
}

describe('the gateway client', () => {
  it('reads the demand', async () => {
    const app = aDemand({ queued: 3, oldest_queued_at: 5, units: [] });
    const gateway = await aClient((seen, response) =>
      response.end(seen.path === '/internal/v1/demand' ? JSON.stringify({ apps: [app] }) : ''),
    );
    expect(await gateway.demand()).toEqual([app]);
  });

  it.each([
    ['no JSON', '<html>', /no JSON/],
    ['no list', '{}', /no list apps/],
    ['a negative queue', JSON.stringify({ apps: [{ ...aDemand(), queued: -1 }] }), /apps\[0\]\.queued/],
    ['a queue that is text', JSON.stringify({ apps: [{ ...aDemand(), queued: '9' }] }), /apps\[0\]\.queued/],
    ['a unit without a name', JSON.stringify({ apps: [{ ...aDemand(), units: [{}] }] }), /apps\[0\]\.units\[0\]/],
  ])('refuses a demand with %s', async (_what, body, message) => {
    const gateway = await aClient((_seen, response) => response.end(body));
    await expect(gateway.demand()).rejects.toMatchObject({
      code: 'gateway-malformed',
      message: expect.stringMatching(message) as string,
    });
  });

  it.each([
    [200, 'retired'],
    [409, 'busy'],
  ])('reads the answer %i of a retirement as %s', async (status, want) => {
    const calls: Seen[] = [];
    const gateway = await aClient((seen, response) => {
      calls.push(seen);
      response.writeHead(status).end('{}');
    });
    expect(await gateway.retire('uid-1', 'ocr-1')).toBe(want);
    expect(calls[0]).toMatchObject({
      method: 'POST',
      path: '/internal/v1/units/ocr-1/retire',
      body: '{"app":"uid-1"}',
    });
  });

  it.each([
    [204, 'done'],
    [202, 'pending'],
  ])('reads the answer %i of a purge as %s', async (status, want) => {
    const gateway = await aClient((_seen, response) => response.writeHead(status).end());
    expect(await gateway.purge('uid-1')).toBe(want);
  });

  it('says what it was refused with', async () => {
    const gateway = await aClient((_seen, response) => response.writeHead(503).end('the queue is away'));
    await expect(gateway.purge('uid-1')).rejects.toMatchObject({
      code: 'gateway-refused',
      message: 'the gateway answered DELETE /apps/uid-1 with 503: the queue is away',
    });
  });

  it('tries once more with a new token when the old one is refused', async () => {
    const tokens: string[] = [];
    const gateway = await aClient((seen, response) => {
      tokens.push(seen.token);
      response.writeHead(seen.token === 'Bearer token-0' ? 401 : 204).end();
    });
    expect(await gateway.purge('uid-1')).toBe('done');
    expect(tokens).toEqual(['Bearer token-0', 'Bearer token-1']);
  });

  it('says that nobody answers', async () => {
    const gateway = await aClient(() => {});
    await closeServer(server!);
    await expect(gateway.demand()).rejects.toMatchObject({ code: 'gateway-unreachable' });
  });

  it('hands on wake-ups from the stream, and ends with it', async () => {
    const gateway = await aClient((_seen, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': open\n\nevent: wake\ndata: {"app":"uid-1"}\n\nevent: other\ndata: {"app":"no"}\n\n');
      // Cut in the middle of an event: the parts belong together.
      response.write('event: wa');
      response.end('ke\r\ndata: {"app":"uid-2"}\r\n\r\n');
    });
    const woken: string[] = [];
    let opened = 0;
    await gateway.wakeUps(
      (uid) => void woken.push(uid),
      () => (opened += 1),
      new AbortController().signal,
    );
    expect(woken).toEqual(['uid-1', 'uid-2']);
    expect(opened).toBe(1);
  });

  it('ends the stream when it is told to stop', async () => {
    const gateway = await aClient((_seen, response) => void response.writeHead(200).write(': open\n\n'));
    const stop = new AbortController();
    const ended = gateway.wakeUps(
      () => {},
      () => stop.abort(),
      stop.signal,
    );
    await expect(ended).resolves.toBeUndefined();
  });
});
