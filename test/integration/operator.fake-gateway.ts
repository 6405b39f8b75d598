// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createLocalJWKSet, jwtVerify } from 'jose';
import type { JSONWebKeySet } from 'jose';
import type { AppDemandWire } from '#base/wire/demand.ts';
import { INTERNAL_AUDIENCE, OPERATOR_ISSUER } from '#base/wire/claims.ts';

/** The operator's side of a gateway over real HTTP, whose queue is what the test says it is. */
export interface FakeGateway {
  readonly url: string;
  /** Sets the demand of an app, and wakes the operator when something is queued. */
  set(app: { uid: string; namespace: string; name: string }, patch?: Partial<AppDemandWire>): void;
  remove(uid: string): void;
  readonly retired: Set<string>;
  /** How often demand was asked for. */
  asked(): number;
  /** Units that hold a live lease. */
  readonly busy: Set<string>;
  /** Apps of which something is left: purge answers 202. */
  readonly purging: Set<string>;
  readonly purges: string[];
  /** Calls that carried no valid token of the operator. */
  readonly unauthorised: string[];
  readonly streams: Set<ServerResponse>;
  /** Refuses connections until `up`. */
  down(): Promise<void>;
  up(): Promise<void>;
  close(): Promise<void>;
}

/** @param jwks the operator's published keys, as the gateway would read them */
export async function startFakeGateway(jwks: () => Promise<JSONWebKeySet>): Promise<FakeGateway> {
  const apps = new Map<string, AppDemandWire>();
  const state = {
    retired: new Set<string>(),
    busy: new Set<string>(),
    purging: new Set<string>(),
    purges: [] as string[],
    unauthorised: [] as string[],
    streams: new Set<ServerResponse>(),
  };

  let asked = 0;
  const isOperator = async (request: IncomingMessage): Promise<boolean> => {
    const token = request.headers.authorization?.replace(/^Bearer /, '') ?? '';
    const expected = { issuer: OPERATOR_ISSUER, audience: INTERNAL_AUDIENCE };
    return jwtVerify(token, createLocalJWKSet(await jwks()), expected).then(
      () => true,
      () => false,
    );
  };
  const answer = (response: ServerResponse, status: number, body?: unknown): void => {
    response
      .writeHead(status, { 'content-type': 'application/json' })
      .end(body === undefined ? '' : JSON.stringify(body));
  };
  const openStream = (response: ServerResponse): void => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': open\n\n');
    state.streams.add(response);
    response.once('close', () => state.streams.delete(response));
  };
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = (request.url ?? '').replace('/internal/v1', '');
    if (!(await isOperator(request))) {
      state.unauthorised.push(`${request.method} ${path}`);
      return answer(response, 401);
    }
    if (path === '/demand') asked += 1;
    if (path === '/demand') return answer(response, 200, { apps: [...apps.values()] });
    if (path === '/demand/stream') return openStream(response);
    const unit = /^\/units\/([^/]+)\/retire$/.exec(path)?.[1];
    if (unit !== undefined && request.method === 'POST') {
      if (state.busy.has(unit)) return answer(response, 409);
      state.retired.add(unit);
      for (const [uid, app] of apps) {
        const units = app.units.map((known) => (known.unit === unit ? { ...known, retired: true } : known));
        apps.set(uid, { ...app, units });
      }
      return answer(response, 200, { retired: true });
    }
    const uid = /^\/apps\/([^/]+)$/.exec(path)?.[1];
    if (uid !== undefined && request.method === 'DELETE') {
      state.purges.push(uid);
      return answer(response, state.purging.has(uid) ? 202 : 204);
    }
    return answer(response, 404);
  };

  let server = createServer();
  let port = 0;
  const up = async (): Promise<void> => {
    server = createServer((request, response) => {
      handle(request, response).catch(() => response.destroy());
    });
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
  };
  const down = async (): Promise<void> => {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  };
  await up();
  return {
    url: `http://127.0.0.1:${port}`,
    ...state,
    asked: () => asked,
    set: ({ uid, namespace, name }, patch = {}) => {
      const before = apps.get(uid);
      const fresh = { uid, namespace, name, revision: '', queued: 0, queued_by_revision: {}, leased: 0, units: [] };
      apps.set(uid, { ...fresh, ...before, ...patch });
      if ((patch.queued ?? 0) === 0) return;
      for (const stream of state.streams) stream.write(`event: wake\ndata: ${JSON.stringify({ app: uid })}\n\n`);
    },
    remove: (uid) => void apps.delete(uid),
    up,
    down,
    close: down,
  };
}
