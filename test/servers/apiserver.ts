// SPDX-License-Identifier: Apache-2.0
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { until } from '../until.ts';
import { clusterScript, kubeAssets } from './kube-assets.ts';

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

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const readyTimeoutMs = 60_000;
const commandTimeoutMs = 60_000;
const stderrTailChars = 8_000;

/** A real kube-apiserver with an etcd of its own, on loopback; no controllers and no node. */
export class ApiServer implements KubeAddress {
  readonly kubectl: string;
  readonly kubeconfig: string;
  readonly server: string;
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly etcd: string;
  private readonly state: string;
  private readonly script: ChildProcess;

  constructor(state: string, script: ChildProcess, binaries: string) {
    const port = (name: string): string => readFileSync(join(state, `${name}.port`), 'utf8').trim();
    this.state = state;
    this.script = script;
    this.kubectl = join(binaries, 'kubectl');
    this.kubeconfig = join(state, 'admin.kubeconfig');
    this.server = `https://127.0.0.1:${port('apiserver')}`;
    this.etcd = `http://127.0.0.1:${port('etcd')}`;
    this.caFile = join(state, 'pki/ca.crt');
    this.certFile = join(state, 'pki/admin.crt');
    this.keyFile = join(state, 'pki/admin.key');
  }

  /** The parts that can be handed to another process (`project.provide`). */
  address(): KubeAddress {
    const { kubeconfig, server, caFile, certFile, keyFile, etcd, kubectl } = this;
    return { kubeconfig, server, caFile, certFile, keyFile, etcd, kubectl };
  }

  get pid(): number {
    return Number(readFileSync(join(this.state, 'run/apiserver.pid'), 'utf8').split(' ')[0]);
  }

  /** `kill -9` of the API server, and waits until it is gone; etcd lives on. */
  async kill9(): Promise<void> {
    await this.cluster('kill', 'apiserver');
  }

  /** Starts the killed API server again: same command, port, certificates and data. Resolves when it is ready. */
  async restart(): Promise<void> {
    await this.cluster('start', 'apiserver');
    await this.ready();
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

  async applyFiles(files: readonly string[]): Promise<void> {
    await this.kube('apply', '--server-side', ...files.flatMap((file) => ['-f', file]));
  }

  async installCrds(): Promise<void> {
    const files = globSync('crds/*.yaml', { cwd: root }).map((file) => join(root, file));
    if (files.length === 0) throw new Error(`no crds/*.yaml in ${root}`);
    await this.applyFiles(files);
    const named = files.flatMap((file) => ['-f', file]);
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
    const { stdout } = await run(this.kubectl, ['--kubeconfig', this.kubeconfig, ...args], {
      timeout: commandTimeoutMs,
    });
    return stdout;
  }

  async stop(): Promise<void> {
    if (this.script.exitCode === null && this.script.signalCode === null) {
      const exited = once(this.script, 'exit');
      this.script.stdin?.end(); // the script's sign to take everything down
      await exited;
    }
    rmSync(this.state, { recursive: true, force: true });
  }

  private async ready(): Promise<void> {
    await until(() => this.kube('get', '--raw', '/readyz'), { what: 'kube-apiserver', timeoutMs: readyTimeoutMs });
  }

  private async cluster(...args: string[]): Promise<void> {
    await run(clusterScript, args, {
      env: { ...process.env, PENSTOCK_CLUSTER_STATE: this.state },
      timeout: commandTimeoutMs,
    });
  }

  private async etcdCall(path: string, body: object): Promise<unknown> {
    const answer = await fetch(this.etcd + path, { method: 'POST', body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`etcd ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }
}

/** Starts one on free ports and waits until it is ready. It goes down by itself when this process dies. */
export async function startApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const binaries = await kubeAssets('api');
  // The script makes and removes its state folder itself, so it gets a name that is not there yet.
  const state = mkdtempSync(join(tmpdir(), 'penstock-kube-'));
  rmSync(state, { recursive: true });
  const script = spawn(clusterScript, ['run'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true, // Ctrl-C reaches this process; the script then goes by its standard input
    env: {
      ...process.env,
      PENSTOCK_CLUSTER_STATE: state,
      PENSTOCK_APISERVER_FLAGS: (options.flags ?? []).join(' '),
      PENSTOCK_APISERVER_PORT: '',
      PENSTOCK_ETCD_PORT: '',
    },
  });
  await announced(script);
  const server = new ApiServer(state, script, binaries);
  try {
    if (options.crds !== false) await server.installCrds();
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}

/** Resolves when the script has printed the kubeconfig's path; rejects with its words when it ends before. */
async function announced(script: ChildProcess): Promise<void> {
  let said = '';
  script.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-stderrTailChars);
  });
  script.stdin?.on('error', () => {}); // EPIPE when it ends first
  await new Promise<void>((resolve, reject) => {
    script.once('error', reject);
    script.once('exit', (code) => reject(new Error(`hack/kube/cluster run ended with ${code}:\n${said}`)));
    if (script.stdout) createInterface(script.stdout).once('line', () => resolve());
  });
}
