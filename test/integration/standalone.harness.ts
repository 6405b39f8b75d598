// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { until } from '#test/until.ts';
import { startChild } from '#test/servers/child.ts';
import type { Child } from '#test/servers/child.ts';

const PENSTOCK = join(import.meta.dirname, '../../deploy/standalone/penstock');

/** Runs its arguments in a new terminal, and shows what they print. */
const TERMINAL = 'import pty, sys; pty.spawn(sys.argv[1:])';

/** How an app's manifest differs from the smallest one; values are YAML as JSON. */
export interface AppPatch {
  readonly desiredState?: string;
  readonly worker?: Readonly<Record<string, unknown>>;
  readonly request?: Readonly<Record<string, unknown>>;
  readonly scaling?: Readonly<Record<string, unknown>>;
}

/** Echoes, and writes one line per request to calls.log beside the manifests. */
export const ECHO = `
import { appendFileSync } from 'node:fs';
export const predict = (batch) => batch.map((request) => {
  appendFileSync('calls.log', request.id + '\\n');
  return request.text();
});
`;

/** Leaves as soon as the queue is dry, so that no test waits for a linger. */
export const NO_LINGER = { idleLinger: { policy: 'Fixed', seconds: 0 } };

/** A folder with `apps/` and `data/` of one test, and the standalone processes that serve it. */
export interface Bench {
  readonly dir: string;
  readonly apps: string;
  readonly data: string;
  write(file: string, text: string): void;
  /** Writes `name`.yaml, an InferenceApp. */
  app(name: string, patch?: AppPatch): void;
  /** What the handlers of this bench wrote into a file beside the manifests, line by line. */
  lines(file: string): readonly string[];
  /** Runs `penstock ARGS` and waits for its end. */
  refusal(...args: readonly string[]): Promise<{ readonly code: number | null; readonly log: string }>;
  /** Runs `penstock standalone` on the folder and waits until it serves. */
  start(...args: readonly string[]): Promise<Running>;
  /** The same in a terminal of its own, which ends with `exited`'s process: kill that to close it. */
  startInTerminal(): Promise<Running>;
  /** pids of all units of this bench and of whatever they started: they work in its folder. */
  processes(): readonly number[];
  readonly remove: () => Promise<void>;
}

export interface Running {
  readonly url: string;
  readonly opsUrl: string;
  readonly pid: number;
  readonly exited: Promise<number | null>;
  log(): string;
  /** Messages of the log's lines, for what has been said. */
  said(text: string | RegExp): boolean;
  post(app: string, body: string | Uint8Array<ArrayBuffer>, headers?: Record<string, string>): Promise<Response>;
  /** Posts, and answers the ticket of the 202. */
  submit(app: string, body: string): Promise<string>;
  status(app: string, ticket: string, waitSeconds?: number): Promise<Response>;
  /** Waits for the end of a request: its state and text. */
  ended(
    app: string,
    ticket: string,
  ): Promise<{ readonly status: number; readonly state: string; readonly text: string }>;
  record(app: string, ticket: string): Promise<RequestView>;
  /** Units that run, by the metric. */
  units(app: string): Promise<number>;
  /** Sends the signal to the whole group, as a terminal does, and waits: the exit code. */
  signal(name: NodeJS.Signals): Promise<number | null>;
}

export interface RequestView {
  readonly state: string;
  readonly attempts: readonly { readonly outcome?: string; readonly unit?: string }[];
}

export function makeBench(): Bench {
  const dir = mkdtempSync(join(tmpdir(), 'penstock-standalone-'));
  const [apps, data] = [join(dir, 'apps'), join(dir, 'data')];
  mkdirSync(apps);
  const serve = ['standalone', '-f', apps, '--data', data, '--port', '0'];
  const children: Child[] = [];
  let runs = 0;
  const launch = async (
    args: readonly string[],
    command: string = PENSTOCK,
  ): Promise<{ child: Child; logFile: string }> => {
    const logFile = join(dir, `log-${runs++}`);
    const env = { PATH: `${dirname(process.execPath)}:${process.env['PATH']}`, HOME: dir, TMPDIR: dir };
    const child = await startChild({ command, args, env, logFile });
    children.push(child);
    return { child, logFile };
  };
  const write = (file: string, text: string): void => writeFileSync(join(apps, file), text);
  const processes = (): readonly number[] => processesIn(apps);
  return {
    dir,
    apps,
    data,
    write,
    app: (name, patch) => write(`${name}.yaml`, manifest(name, patch)),
    lines: (file) => linesOf(join(apps, file)),
    refusal: async (...args) => {
      const { child, logFile } = await launch(args);
      const code = await child.exited;
      return { code, log: readFileSync(logFile, 'utf8') };
    },
    start: async (...args) => {
      const { child, logFile } = await launch([...serve, ...args]);
      return await running(child, logFile);
    },
    startInTerminal: async () => {
      const { child, logFile } = await launch(['-c', TERMINAL, PENSTOCK, ...serve], 'python3');
      return await running(child, logFile);
    },
    processes,
    remove: async () => {
      for (const child of children) await child.end('SIGKILL');
      await until(() => processes().length === 0, { what: 'the end of all units' });
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** pids of the processes that work in a folder; zombies, which have no folder any more, are not among them. */
export function processesIn(folder: string): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && cwdOf(name).startsWith(folder))
    .map(Number);
}

function cwdOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return '';
  }
}

function linesOf(file: string): readonly string[] {
  try {
    return readFileSync(file, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}

/** JSON is YAML. */
export function manifest(name: string, { worker, ...spec }: AppPatch = {}): string {
  return JSON.stringify({
    apiVersion: 'penstock.dev/v1alpha1',
    kind: 'InferenceApp',
    metadata: { name },
    spec: { worker: worker ?? { archetype: 'Handler', handler: 'echo.ts' }, ...spec },
  });
}

async function running(child: Child, logFile: string): Promise<Running> {
  const log = (): string => readFileSync(logFile, 'utf8');
  const serving = await until(
    () => {
      if (child.running()) return /^penstock: serving (\S+) \(ops (\S+)\)\r?$/m.exec(log());
      throw new Error(`standalone has ended: ${log()}`);
    },
    { what: 'standalone to serve', timeoutMs: 30_000 },
  );
  const [, url = '', opsUrl = ''] = serving;
  const post: Running['post'] = (app, body, headers = {}) =>
    fetch(`${url}/v1/${app}/infer`, { method: 'POST', body, headers: { 'content-type': 'text/plain', ...headers } });
  const status: Running['status'] = (app, ticket, waitSeconds = 0) =>
    fetch(`${url}/v1/${app}/status/${ticket}`, { headers: { prefer: `wait=${waitSeconds}` } });
  return {
    url,
    opsUrl,
    pid: child.pid,
    exited: child.exited,
    log,
    said: (text) =>
      log()
        .split('\n')
        .some((line) => (typeof text === 'string' ? line.includes(text) : text.test(line))),
    post,
    submit: async (app, body) => {
      const answer = await post(app, body);
      const text = await answer.text();
      if (answer.status !== 202) throw new Error(`infer: ${answer.status} ${text}`);
      return (JSON.parse(text) as { ticket: string }).ticket;
    },
    status,
    ended: async (app, ticket) => {
      for (;;) {
        const answer = await status(app, ticket, 20);
        const text = await answer.text();
        const state = answer.headers.get('penstock-state') ?? '';
        if (answer.status !== 202) return { status: answer.status, state, text };
      }
    },
    record: async (app, ticket) => (await (await fetch(`${url}/v1/${app}/requests/${ticket}`)).json()) as RequestView,
    units: async (app) => {
      const text = await (await fetch(`${opsUrl}/metrics`)).text();
      const line = text
        .split('\n')
        .find((one) => one.startsWith('penstock_standalone_units{') && one.includes(`"${app}"`));
      return Number(line?.split(' ').at(-1) ?? 0);
    },
    signal: async (name) => {
      process.kill(-child.pid, name);
      return await child.exited;
    },
  };
}
