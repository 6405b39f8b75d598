// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import type { RequestContext } from '@kubernetes/client-node';
import { Agent, ProxyAgent } from 'undici';
import type { Dispatcher } from 'undici';

/** Connections for calls: enough for the workers of one process, few enough that a restart storm cannot hurt the API server. */
export const CALL_CONNECTIONS = 16;
/** client-go's first keep-alive probe: before the 60 s idle limit of common load balancers. */
const KEEP_ALIVE_PROBE_MS = 30_000;
/** An idle connection is dropped by us before the API server (90 s) does it while a call is on its way. */
const IDLE_CONNECTION_MS = 60_000;
/**
 * TCP and TLS together. Short, because undici hands later calls to a connection that is still being made: a lost SYN must not
 * hold them, above all a lease renewal (deadline 10 s), for longer than this.
 */
const CONNECT_TIMEOUT_MS = 3_000;
/** Largest answer to one call: a page of 500 objects stays far below; protects the heap from a mad proxy. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

/** Two pools to one API server. */
export interface Pools {
  /** At most {@link CALL_CONNECTIONS} connections; calls beyond that wait. */
  readonly calls: Dispatcher;
  /** Without a cap: long streams never starve calls, and a lease renewal never waits behind them. */
  readonly streams: Dispatcher;
}

/** What one request needs: how it proves who it is, and over which connections it goes. */
export interface Security {
  readonly headers: Readonly<Record<string, string>>;
  readonly pools: Pools;
}

type TlsOptions = Pick<
  RequestOptions,
  'ca' | 'cert' | 'key' | 'pfx' | 'passphrase' | 'rejectUnauthorized' | 'servername'
>;
const TLS_KEYS = ['ca', 'cert', 'key', 'pfx', 'passphrase', 'rejectUnauthorized', 'servername'] as const;

/**
 * KubeConfig whose connections are pooled. client-node 2.0 builds a new undici Agent, hence a new TLS connection, for each
 * call of each generated client; here every client made from this config shares two Agents. Token files, exec plugins
 * and OIDC refresh stay client-node's. HTTP/2 is off: node's http2 watches grow in memory (kubernetes-fluent-client #424).
 */
export class PooledKubeConfig extends KubeConfig {
  #pools: (Pools & { readonly fingerprint: string; readonly all: readonly Dispatcher[] }) | undefined;
  #closed = false;

  /**
   * From `KUBECONFIG`, ~/.kube/config or the pod's service account, in that order; or from one given file.
   * @throws Error when there is none of them
   */
  static load(file?: string): PooledKubeConfig {
    const config = new PooledKubeConfig();
    if (file === undefined) config.loadFromDefault();
    else config.loadFromFile(file);
    // What client-node falls back to; nobody serves an API without TLS there, and the errors would mislead.
    if (config.getCurrentCluster()?.server === 'http://localhost:8080') {
      throw new Error('no cluster configured: set KUBECONFIG, or run in a pod with a service account token');
    }
    return config;
  }

  /** From the text of a kubeconfig (a Secret of a Placement). The text must be self-contained: no file paths, no exec. */
  static fromText(kubeconfig: string): PooledKubeConfig {
    const config = new PooledKubeConfig();
    config.loadFromString(kubeconfig);
    const unsafe = config.users.some((user) => user.exec || user.authProvider || user.certFile || user.keyFile);
    // Such a text comes from whoever may write the Secret: it must not run programs or read files of ours.
    if (unsafe || config.clusters.some((cluster) => cluster.caFile)) {
      throw new TypeError(
        'kubeconfig: exec, auth-provider and file paths are not allowed here; embed the data instead',
      );
    }
    return config;
  }

  /** Credentials as of now, and the pools that go with them. Cheap; called for every request. */
  async security(): Promise<Security> {
    const options: RequestOptions = {};
    await this.applyToHTTPSOptions(options);
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(options.headers ?? {})) headers[name] = String(value).trim();
    if (options.auth) headers['Authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`;
    return { headers, pools: this.#poolsFor(tlsOf(options)) };
  }

  override async applySecurityAuthentication(context: RequestContext): Promise<void> {
    const { headers, pools } = await this.security();
    for (const [name, value] of Object.entries(headers)) context.setHeaderParam(name, value);
    context.setDispatcher(pools.calls);
  }

  /** Ends every connection, running calls included. Calls after this fail. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all((this.#pools?.all ?? []).map((pool) => pool.destroy()));
  }

  /** The current pools, replaced when the TLS material has changed (rotated CA or client certificate). */
  #poolsFor(tls: TlsOptions): Pools {
    if (this.#closed) throw new Error('this connection to the API server was closed');
    const fingerprint = fingerprintOf(tls);
    if (this.#pools?.fingerprint === fingerprint) return this.#pools;
    // Old pools end when their last call or watch has; watches are at most ten minutes long.
    for (const old of this.#pools?.all ?? []) void old.close().catch(() => {});
    const calls = this.#createPool(tls, CALL_CONNECTIONS);
    const streams = this.#createPool(tls, null);
    this.#pools = { calls, streams, fingerprint, all: [calls, streams] };
    return this.#pools;
  }

  #createPool(tls: TlsOptions, connections: number | null): Dispatcher {
    const cluster = this.getCurrentCluster();
    const common = {
      connections,
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: IDLE_CONNECTION_MS,
      keepAliveMaxTimeout: IDLE_CONNECTION_MS,
      // Deadlines and the watch's silence limit are kept per request, by signals; these would only cut them short.
      headersTimeout: 0,
      bodyTimeout: 0,
      maxResponseSize: connections === null ? -1 : MAX_ANSWER_BYTES,
    };
    const connect = { timeout: CONNECT_TIMEOUT_MS, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS };
    if (!cluster?.proxyUrl)
      return new Agent({ ...common, connect: { ...tls, ...connect } as Agent.Options['connect'] & {} });
    if (!/^https?:/.test(cluster.proxyUrl))
      throw new TypeError(`kubeconfig: proxy-url "${cluster.proxyUrl}": only http and https proxies are supported`);
    return new ProxyAgent({
      ...common,
      uri: cluster.proxyUrl,
      requestTls: { ...tls, ...connect } as ProxyAgent.Options['requestTls'] & {},
    });
  }
}

function tlsOf(options: RequestOptions): TlsOptions {
  return Object.fromEntries(TLS_KEYS.filter((key) => options[key] !== undefined).map((key) => [key, options[key]]));
}

function fingerprintOf(tls: TlsOptions): string {
  const hash = createHash('sha256');
  for (const key of TLS_KEYS) {
    const value = tls[key];
    hash.update(`\0${key}=`).update(Buffer.isBuffer(value) ? value : JSON.stringify(value ?? null));
  }
  return hash.digest('base64');
}
