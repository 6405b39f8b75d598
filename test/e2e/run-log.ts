// SPDX-License-Identifier: Apache-2.0
// What the containers of an app's units say about their runs, followed from outside for as long as there are units.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import type { Cluster } from '#test/servers/cluster-run.ts';
import { podsOf, type PodStatus } from './containers.ts';

/** One run of a request's handler, by the handler's own words (config/samples/handlers/slow-echo.ts with SIGN=yes). */
export interface Run {
  readonly pod: string;
  readonly run: string;
}

const LINE = /^run ([0-9a-f-]{36}) of (.*)$/;
const CONTAINER = 'worker';
/** Units live for seconds, and a log is read from its beginning. */
const LOOK_EVERY_MS = 250;

export class RunLog {
  /** By the body of the request, in no particular order. */
  readonly runs = new Map<string, Run[]>();
  private readonly cluster: Cluster;
  private readonly followed = new Map<string, Promise<unknown>>();
  private readonly stopping = new AbortController();
  private readonly looking: Promise<void>;

  constructor(cluster: Cluster, namespace: string, selector: string) {
    this.cluster = cluster;
    this.looking = this.look(namespace, selector);
  }

  /** Resolves when every container that was seen has ended and its last line was read. */
  async end(): Promise<void> {
    this.stopping.abort();
    await this.looking;
    await Promise.all(this.followed.values());
  }

  private async look(namespace: string, selector: string): Promise<void> {
    while (!this.stopping.signal.aborted) {
      // The API server may be slow for a moment; the next look sees the same pods.
      for (const pod of await podsOf(this.cluster, namespace, selector).catch(() => [])) {
        const { name } = pod.metadata;
        if (!this.followed.has(name) && hasLog(pod)) this.followed.set(name, this.follow(namespace, name));
      }
      await delay(LOOK_EVERY_MS, undefined, { signal: this.stopping.signal }).catch(() => undefined);
    }
  }

  private async follow(namespace: string, pod: string): Promise<void> {
    const args = ['--kubeconfig', this.cluster.kubeconfig, '-n', namespace, 'logs', '-f', pod, '-c', CONTAINER];
    const child = spawn(this.cluster.kubectl, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [, run, body] = LINE.exec(line) ?? [];
      if (run !== undefined && body !== undefined) this.runs.set(body, [...(this.runs.get(body) ?? []), { pod, run }]);
    });
    await once(child, 'close');
  }
}

/** Its container was started, whatever became of it. */
function hasLog({ status }: PodStatus): boolean {
  return status.containerStatuses?.some(({ name, containerID }) => name === CONTAINER && containerID) ?? false;
}
