// SPDX-License-Identifier: Apache-2.0
// For tests: an admission server with a certificate of its own, and clients of each version of HTTP.
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import type { ClientHttp2Session, OutgoingHttpHeaders } from 'node:http2';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { connect as connectTls } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { Logger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import { seededRandom } from '#base/random.ts';
import type { AdmissionHandler } from '../admission/types.ts';
import { mintAuthority, mintLeaf } from '../certs/authority.ts';
import type { KeyPair } from '../certs/serving-certificate.ts';
import { createWebhookMetrics } from '../metrics.ts';
import { createRoutes } from './routes.ts';
import type { Handlers } from './routes.ts';
import { createAdmissionServer } from './server.ts';
import type { AdmissionServer } from './server.ts';

const YEAR_MS = 365 * 86_400_000;
const allow: AdmissionHandler = () => ({});

export interface TestServer {
  readonly server: AdmissionServer;
  readonly port: number;
  readonly ca: string;
  readonly registry: Registry;
  /** Another leaf of the same CA is served from now on. */
  rotate(): Promise<void>;
  stop(): Promise<void>;
}

export async function startTestServer(
  handlers: Partial<Handlers> = {},
  logger: Logger = silentLogger,
  options: { readonly maxAgeMs?: number; readonly clientCa?: string } = {},
): Promise<TestServer> {
  const authority = await mintAuthority(systemClock.now(), YEAR_MS);
  const leaf = async (): Promise<KeyPair> => {
    const { key, certificate } = await mintLeaf(authority, ['localhost'], systemClock.now(), YEAR_MS);
    return { key, cert: certificate.toString() };
  };
  let pair = await leaf();
  const listeners = new Set<(pair: KeyPair) => void>();
  const registry = createRegistry('test', false);
  const all = { mutatePods: allow, mutateEphemeral: allow, validateInferenceApps: allow, validatePlacements: allow };
  const server: AdmissionServer = createAdmissionServer({
    host: '127.0.0.1',
    port: 0,
    routes: createRoutes({ ...all, ...handlers }),
    certificate: {
      current: () => pair,
      onChange: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    metrics: createWebhookMetrics(registry, () => server.load()),
    clock: systemClock,
    random: seededRandom(1),
    logger,
    ...options,
  });
  const port = await server.start();
  if (port === undefined) throw new Error('it ended before it began');
  return {
    server,
    port,
    ca: authority.certificate.toString(),
    registry,
    rotate: async () => {
      pair = await leaf();
      for (const listener of listeners) listener(pair);
    },
    stop: () => server.drain(0, 0),
  };
}

export interface TestCall {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string;
  /** Without Content-Length: chunked in HTTP/1.1. */
  readonly chunked?: boolean;
}

export interface TestAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly json: unknown;
}

const JSON_TYPE = { 'content-type': 'application/json' };

function headersOf({ headers = JSON_TYPE, body = '', chunked = false }: TestCall): Record<string, string> {
  return chunked || body === '' ? { ...headers } : { 'content-length': String(Buffer.byteLength(body)), ...headers };
}

export async function callHttp1({ port, ca }: TestServer, call: TestCall): Promise<TestAnswer> {
  const { method = 'POST', path = '/mutate/pods?timeout=5s', body = '' } = call;
  const req = request({
    port,
    ca,
    servername: 'localhost',
    host: '127.0.0.1',
    method,
    path,
    headers: headersOf(call),
    agent: false,
  });
  // A refused body is not read to its end: what cannot be sent any more is no failure of the call.
  req.on('error', () => {});
  if (call.chunked) req.flushHeaders();
  req.end(body);
  const [res] = (await once(req, 'response')) as [IncomingMessage];
  const text = await textOf(res);
  req.destroy();
  return { status: res.statusCode ?? 0, headers: res.headers, json: JSON.parse(text) };
}

export function http2Session({ port, ca }: TestServer, localAddress = '127.0.0.1'): ClientHttp2Session {
  // Handed on to the socket, of which Node's types do not know here.
  const options = { ca, servername: 'localhost', localAddress };
  const session = connectHttp2(`https://127.0.0.1:${port}`, options);
  session.on('error', () => {});
  return session;
}

export async function callHttp2(session: ClientHttp2Session, call: TestCall): Promise<TestAnswer> {
  const { method = 'POST', path = '/mutate/pods?timeout=5s', body = '' } = call;
  const head = { ':method': method, ':path': path, ...headersOf(call) };
  const stream = session.request(head, { endStream: body === '' });
  stream.on('error', () => {});
  if (body !== '') stream.end(body);
  const [headers] = (await once(stream, 'response')) as [OutgoingHttpHeaders];
  const text = await textOf(stream);
  return { status: Number(headers[':status']), headers, json: JSON.parse(text) };
}

async function textOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** A bare TLS connection that speaks what it is told. */
export async function rawConnection(
  { port, ca }: TestServer,
  ALPNProtocols: string[] = ['http/1.1'],
): Promise<TLSSocket> {
  const socket = connectTls({ port, host: '127.0.0.1', ca, servername: 'localhost', ALPNProtocols });
  await once(socket, 'secureConnect');
  socket.on('error', () => {});
  return socket;
}

/** A review of a pod's creation; `change` is laid over its request. */
export function podReview(change: Readonly<Record<string, unknown>> = {}, uid = 'c0ffee'): Record<string, unknown> {
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid,
      kind: { group: '', version: 'v1', kind: 'Pod' },
      resource: { group: '', version: 'v1', resource: 'pods' },
      name: 'a-pod',
      namespace: 'team',
      operation: 'CREATE',
      userInfo: { username: 'jane', groups: ['system:authenticated'] },
      object: {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'a-pod', namespace: 'team' },
        spec: { containers: [] },
      },
      oldObject: null,
      dryRun: false,
      options: { kind: 'CreateOptions', apiVersion: 'meta.k8s.io/v1' },
      ...change,
    },
  };
}
