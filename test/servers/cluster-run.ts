// SPDX-License-Identifier: Apache-2.0
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { clusterScript, kubeAssets } from './kube-assets.ts';

export interface ClusterOptions {
  /** The whole node (root), not only the API server. One such cluster per machine. */
  readonly node: boolean;
  /** Further flags of kube-apiserver. */
  readonly flags?: readonly string[];
}

const run = promisify(execFile);
const commandTimeoutMs = 120_000;
const maxOutputBytes = 64 * 1024 * 1024;
const stderrTailChars = 8_000;

/** One run of `hack/kube/cluster`: a Kubernetes that goes down by itself when this process dies. */
export class Cluster {
  /** The folder of its state; gone after `stop`. */
  readonly state: string;
  readonly kubeconfig: string;
  readonly kubectl: string;
  private readonly script: ChildProcess;

  constructor(state: string, script: ChildProcess, binaries: string) {
    this.state = state;
    this.script = script;
    this.kubeconfig = join(state, 'admin.kubeconfig');
    this.kubectl = join(binaries, 'kubectl');
  }

  /** Runs kubectl and returns what it printed; its words are in the error when it fails. */
  async kube(...args: string[]): Promise<string> {
    const options = { timeout: commandTimeoutMs, maxBuffer: maxOutputBytes };
    const { stdout } = await run(this.kubectl, ['--kubeconfig', this.kubeconfig, ...args], options);
    return stdout;
  }

  /** Runs a verb of the script on this cluster, for example `('load', 'dist/images/gateway.tar')`. */
  async cluster(...args: string[]): Promise<string> {
    const env = { ...process.env, PENSTOCK_CLUSTER_STATE: this.state };
    const { stdout } = await run(clusterScript, args, { env, timeout: commandTimeoutMs, maxBuffer: maxOutputBytes });
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
}

/** Brings one up and waits until it is ready. */
export async function runCluster(options: ClusterOptions): Promise<Cluster> {
  const binaries = await kubeAssets(options.node ? 'node' : 'api');
  // The script makes and removes its state folder itself, so it gets a name that is not there yet.
  const state = mkdtempSync(join(tmpdir(), 'penstock-kube-'));
  rmSync(state, { recursive: true });
  const script = spawn(clusterScript, ['run', ...(options.node ? ['--node'] : [])], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true, // Ctrl-C reaches this process; the script then goes by its standard input
    env: {
      ...process.env,
      PENSTOCK_CLUSTER_STATE: state,
      PENSTOCK_APISERVER_FLAGS: (options.flags ?? []).join(' '),
      PENSTOCK_APISERVER_PORT: '', // free ones, whatever the caller's shell says
      PENSTOCK_ETCD_PORT: '',
    },
  });
  await announced(script);
  return new Cluster(state, script, binaries);
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
