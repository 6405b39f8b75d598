// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Cluster } from '#test/servers/cluster-run.ts';
import { APPS } from './installation.ts';

/** What `kubectl get iapp --watch` prints while something happens: the story as a person sees it. */
export class Story {
  private readonly child: ChildProcess;
  private text = '';

  constructor(cluster: Cluster, app: string) {
    const args = ['--kubeconfig', cluster.kubeconfig, '-n', APPS, 'get', 'iapp', app, '--watch'];
    this.child = spawn(cluster.kubectl, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.child.stdout?.on('data', (chunk: Buffer) => {
      this.text += chunk.toString();
    });
  }

  /** The rows so far, by column name. */
  rows(): Record<string, string>[] {
    const [head, ...lines] = this.lines();
    if (head === undefined) return [];
    // Columns are aligned and may be empty, so their places are read off the heading.
    const columns = [...head.matchAll(/\S+\s*/g)].map(({ 0: text, index }) => ({ name: text.trim(), index }));
    return lines.map((line) =>
      Object.fromEntries(
        columns.map(({ name, index }, i) => [name, line.slice(index, columns[i + 1]?.index ?? line.length).trim()]),
      ),
    );
  }

  /** The same without repeated lines, to be printed. */
  told(): string {
    return this.lines()
      .filter((line, i, all) => line !== all[i - 1])
      .join('\n');
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await exited;
  }

  private lines(): string[] {
    return this.text.split('\n').filter((line) => line !== '');
  }
}
