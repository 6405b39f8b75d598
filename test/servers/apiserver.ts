// SPDX-License-Identifier: Apache-2.0
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from '../until.ts';
import { runCluster, type Cluster } from './cluster-run.ts';

/** What a test needs to reach it. All are paths of files, or URLs. */
export interface KubeAddress {
  readonly kubeconfig: string;
  readonly server: string;
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly etcd: string;
  /** The kubectl of the same version. */
  readonly kubectl: string;
}

export interface ApiServerOptions {
  /** Further flags of kube-apiserver, for example `--watch-cache=false`. */
  readonly flags?: readonly string[];
  /** Install `crds/*.yaml` and wait until they are served; default true. */
  readonly crds?: boolean;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const readyTimeoutMs = 60_000;

/** A real kube-apiserver with an etcd of its own, on loopback; no controllers and no node. */
export class ApiServer implements KubeAddress {
  readonly kubectl: string;
  readonly kubeconfig: string;
  readonly server: string;
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly etcd: string;
  private readonly cluster: Cluster;

  constructor(cluster: Cluster) {
    const port = (name: string): string => readFileSync(join(cluster.state, `${name}.port`), 'utf8').trim();
    this.cluster = cluster;
    this.kubectl = cluster.kubectl;
    this.kubeconfig = cluster.kubeconfig;
    this.server = `https://127.0.0.1:${port('apiserver')}`;
    this.etcd = `http://127.0.0.1:${port('etcd')}`;
    this.caFile = join(cluster.state, 'pki/ca.crt');
    this.certFile = join(cluster.state, 'pki/admin.crt');
    this.keyFile = join(cluster.state, 'pki/admin.key');
  }

  /** The parts that can be handed to another process (`project.provide`). */
  address(): KubeAddress {
    const { kubeconfig, server, caFile, certFile, keyFile, etcd, kubectl } = this;
    return { kubeconfig, server, caFile, certFile, keyFile, etcd, kubectl };
  }

  get pid(): number {
    return Number(readFileSync(join(this.cluster.state, 'run/apiserver.pid'), 'utf8').split(' ')[0]);
  }

  /** `kill -9` of the API server, and waits until it is gone; etcd lives on. */
  async kill9(): Promise<void> {
    await this.cluster.cluster('kill', 'apiserver');
  }

  /** Starts the killed API server again: same command, port, certificates and data. Resolves when it is ready. */
  async restart(): Promise<void> {
    await this.cluster.cluster('start', 'apiserver');
    await until(() => this.kube('get', '--raw', '/readyz'), { what: 'kube-apiserver', timeoutMs: readyTimeoutMs });
  }

  /**
   * Compacts etcd at its present revision, as the API server itself does every five minutes. A page token or a watch
   * from before is then 410 Gone as soon as the server's watch cache no longer covers it: after `kill9` + `restart`,
   * or at once with the flag `--watch-cache=false`. Returns the revision.
   */
  async compact(): Promise<string> {
    const status = (await this.etcdCall('/v3/maintenance/status', {})) as { header: { revision: string } };
    const { revision } = status.header;
    await this.etcdCall('/v3/kv/compaction', { revision, physical: true });
    return revision;
  }

  async installCrds(): Promise<void> {
    const files = globSync('crds/*.yaml', { cwd: root }).map((file) => join(root, file));
    if (files.length === 0) throw new Error(`no crds/*.yaml in ${root}`);
    const named = files.flatMap((file) => ['-f', file]);
    await this.kube('apply', '--server-side', ...named);
    await this.kube('wait', '--for=condition=Established', '--timeout=30s', ...named);
    // Established is said before the storage is there: until then a list answers 429 "storage is (re)initializing".
    const path = '{.spec.group}/{.spec.versions[0].name}/{.spec.names.plural}{"\\n"}';
    const paths = await this.kube('get', ...named, '-o', `jsonpath={range .items[*]}${path}{end}`);
    for (const served of paths.trim().split('\n')) {
      await until(() => this.kube('get', '--raw', `/apis/${served}`), { what: `${served} to be served` });
    }
  }

  /** Runs kubectl and returns what it printed. */
  async kube(...args: string[]): Promise<string> {
    return this.cluster.kube(...args);
  }

  async stop(): Promise<void> {
    await this.cluster.stop();
  }

  private async etcdCall(path: string, body: object): Promise<unknown> {
    const answer = await fetch(this.etcd + path, { method: 'POST', body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`etcd ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }
}

/** Starts one on free ports and waits until it is ready. It goes down by itself when this process dies. */
export async function startApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const server = new ApiServer(await runCluster({ node: false, flags: options.flags ?? [] }));
  try {
    if (options.crds !== false) await server.installCrds();
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}
