// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startApiServer } from '#test/servers/apiserver.ts';
import type { ApiServer } from '#test/servers/apiserver.ts';
import type { Report } from './report.ts';
import { median } from './statistics.ts';
import { applyPeer } from './webhook-configurations.ts';
import { measureCreates } from './webhook-create.ts';
import { buildGoPrograms } from './webhook-go.ts';
import type { GoPrograms } from './webhook-go.ts';
import { loadServer } from './webhook-load.ts';
import type { LoadResult } from './webhook-load.ts';
import { peerConfig } from './webhook-nodes.ts';
import { ownTimes } from './webhook-own-times.ts';
import type { OwnTimes } from './webhook-own-times.ts';
import { IMAGE, PULL_POLICY, prepareCluster, startProduct } from './webhook-product.ts';
import type { Product } from './webhook-product.ts';
import { appReviews, mixedReviews } from './webhook-reviews.ts';
import type { Review } from './webhook-reviews.ts';
import { checkSame } from './webhook-same.ts';
import { makeCertificate, startTelling, unpin } from './webhook-servers.ts';
import type { PinnedServer } from './webhook-servers.ts';

/** Both servers have the same core, one after another; the load has the other one. */
const SERVER_CORE = 0;
const LOAD_CORE = 1;
/** What a server gets before it is measured: code is compiled, heaps have grown. */
const WARM_UP = { count: 40_000, seconds: 60 };
const ROUNDS = 7;
const ROUND_SECONDS = 3;
const STEADY_RATE = 1000;
/** By turns with the peer, many and short: what the machine itself does to a tail shows in both, and not in each round. */
const STEADY = { rounds: 9, seconds: 3 };
const MEMORY_REVIEWS = 100_000;
/** A machine that does less in a second than this is no machine for this. */
const MEMORY_SECONDS = 300;

interface Bench {
  readonly programs: GoPrograms;
  readonly folder: string;
  readonly pods: string;
  readonly apps: string;
}

/** What the admission server costs: against a minimal one in Go, and to whoever creates a pod. */
export async function benchWebhook(report: Report): Promise<void> {
  const programs = buildGoPrograms();
  const folder = mkdtempSync(join(tmpdir(), 'penstock-bench-'));
  const [pods, apps] = [writeReviews(folder, 'pods', mixedReviews()), writeReviews(folder, 'apps', appReviews())];
  const bench = { programs, folder, pods, apps };
  const kube = await startApiServer();
  try {
    await prepareCluster(kube, folder);
    await benchMemory(report, bench, kube);
    const product = await startProduct(kube, folder, SERVER_CORE);
    try {
      await benchRates(report, bench, product);
      await benchSteady(report, bench, product);
      await benchCreates(report, bench, kube, product);
    } finally {
      await product.stop();
    }
  } finally {
    await kube.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

function writeReviews(folder: string, name: string, reviews: readonly Review[]): string {
  const file = join(folder, `${name}.reviews`);
  writeFileSync(file, reviews.map(({ path, body }) => `${path}\t${body}\n`).join(''));
  return file;
}

function startPeer({ programs, folder }: Bench, patch: 'built' | 'diff'): Promise<PinnedServer> {
  const config = join(folder, 'peer.json');
  writeFileSync(config, JSON.stringify(peerConfig(IMAGE, PULL_POLICY)));
  const { cert, key } = makeCertificate(folder);
  const command = [programs.peer, '-cert', cert, '-key', key, '-config', config, '-patch', patch];
  return startTelling({ command, core: SERVER_CORE });
}

const rateOf = ({ count, serverCpu }: LoadResult): number => count / serverCpu;

async function benchRates(report: Report, bench: Bench, product: PinnedServer): Promise<void> {
  const { programs, pods, apps } = bench;
  const plan = { load: programs.load, reviews: pods, seconds: ROUND_SECONDS, core: LOAD_CORE };
  const peers = { built: await startPeer(bench, 'built'), diff: await startPeer(bench, 'diff') };
  try {
    const sliced = await checkSame(product, peers.built, mixedReviews());
    report.note(
      `${mixedReviews().length} pods of ${mixedReviews()[0]?.body.length} bytes a review, ${sliced} of them sliced;`,
    );
    report.note(
      'product and peer make the same pods of them. Server on one core, load (Go, HTTP/2, 16 at a time) on the other.',
    );
    const servers = { ours: product, ...peers };
    for (const server of Object.values(servers)) await loadServer(server, { ...plan, ...WARM_UP });
    const rounds: Record<keyof typeof servers, LoadResult>[] = [];
    for (let at = 0; at < ROUNDS; at += 1) rounds.push(await eachOnce(servers, (server) => loadServer(server, plan)));
    for (const name of ['ours', 'built', 'diff'] as const)
      note(
        report,
        NAMES[name],
        rounds.map((round) => round[name]),
      );
    const against = (peer: 'built' | 'diff'): number =>
      median(rounds.map((round) => rateOf(round.ours) / rateOf(round[peer])));
    report.note(
      `÷ the peer that compares the JSON before and after, as controller-runtime does: ${against('diff').toFixed(2)}`,
    );
    report.ratio('webhook-reviews-vs-go', against('built'), '>=', 1.5);
    note(report, 'InferenceApps', [await loadServer(product, { ...plan, reviews: apps })]);
  } finally {
    await Promise.all([peers.built.stop(), peers.diff.stop()]);
  }
}

const NAMES = {
  ours: 'product',
  built: 'Go, k8s codecs, operations by hand',
  diff: 'Go, k8s codecs, diff of the JSON',
};

async function eachOnce<Name extends string, S, T>(
  servers: Readonly<Record<Name, S>>,
  measure: (server: S) => Promise<T>,
): Promise<Record<Name, T>> {
  const results: Partial<Record<Name, T>> = {};
  for (const name of Object.keys(servers) as Name[]) results[name] = await measure(servers[name]);
  return results as Record<Name, T>;
}

function note(report: Report, name: string, results: readonly LoadResult[]): void {
  const of = (pick: (result: LoadResult) => number): number => median(results.map(pick));
  const micros = of(({ count, serverCpu }) => (serverCpu / count) * 1e6);
  const load = of(({ cpu, seconds }) => (cpu / seconds) * 100);
  report.note(
    `${name}: ${of(rateOf).toFixed(0)} reviews a CPU second (${micros.toFixed(0)} µs each), ` +
      `${of(({ perSecond }) => perSecond).toFixed(0)}/s by the clock, p99 ${of(({ p99 }) => p99).toFixed(1)} ms; the load took ${load.toFixed(0)} % of its core`,
  );
}

async function benchSteady(report: Report, bench: Bench, product: Product): Promise<void> {
  const { programs, pods } = bench;
  const plan = { load: programs.load, reviews: pods, seconds: STEADY.seconds, rate: STEADY_RATE, core: LOAD_CORE };
  const peer = await startPeer(bench, 'built');
  try {
    await loadServer(peer, { ...plan, rate: 0, ...WARM_UP });
    const rounds: Record<'product' | 'peer', LoadResult>[] = [];
    const own: OwnTimes[] = [];
    for (let at = 0; at < STEADY.rounds; at += 1) {
      own.push(
        await ownTimes(product.metrics, async () => {
          rounds.push(await eachOnce({ product, peer }, (server) => loadServer(server, plan)));
        }),
      );
    }
    report.note(
      `${STEADY_RATE} reviews/s, ${STEADY.rounds} rounds of ${STEADY.seconds} s by turns; medians of the rounds:`,
    );
    for (const name of ['product', 'peer'] as const)
      noteTail(
        report,
        name,
        rounds.map((round) => round[name]),
      );
    report.note(
      `product by its own clock, from headers to answer: mean ${median(own.map(({ mean }) => mean)).toFixed(2)} ms, ` +
        `99 % below ${median(own.map(({ p99Below }) => p99Below))} ms; the rest of a time is its way, and waiting to be read`,
    );
    report.ratio('webhook-p99-ms', median(rounds.map((round) => round.product.p99)), '<=', 10);
  } finally {
    await peer.stop();
  }
}

function noteTail(report: Report, name: string, results: readonly LoadResult[]): void {
  const of = (pick: (result: LoadResult) => number): number => median(results.map(pick));
  const busy = of(({ serverCpu, seconds }) => (serverCpu / seconds) * 100);
  report.note(
    `${name}: p50 ${of(({ p50 }) => p50).toFixed(2)} ms, p99 ${of(({ p99 }) => p99).toFixed(2)} ms, worst ${of(({ max }) => max).toFixed(1)} ms, ${busy.toFixed(0)} % of its core; the load itself late by ${of(({ lateP99 }) => lateP99).toFixed(2)} ms (p99)`,
  );
}

async function benchCreates(report: Report, bench: Bench, kube: ApiServer, product: PinnedServer): Promise<void> {
  const peer = await startPeer(bench, 'built');
  try {
    await applyPeer(kube, bench.folder, peer, join(bench.folder, 'peer.crt'));
    // They share the machine with the API server as the scheduler has it.
    for (const server of [product, peer]) unpin(server);
    const sliced = (pod: string): boolean => pod.includes('penstock.dev/slice-status');
    const { took, added } = await measureCreates(kube.address(), sliced);
    report.note(
      `create of a pod, medians: ${took.nobody.toFixed(2)} ms without a webhook; what one adds: ${added.noop.toFixed(2)} ms if it ` +
        `does nothing (Go), ${added.peer.toFixed(2)} ms the peer, which slices, ${added.product.toFixed(2)} ms the product`,
    );
    report.ratio('webhook-added-to-create-ms', added.product, '<=', 1);
  } finally {
    await peer.stop();
  }
}

/** A process of its own, as memory never quite comes back. */
async function benchMemory(report: Report, { programs, folder, pods }: Bench, kube: ApiServer): Promise<void> {
  const product = await startProduct(kube, folder, SERVER_CORE);
  try {
    const began = residentMB(product.pid);
    const half = {
      load: programs.load,
      reviews: pods,
      count: MEMORY_REVIEWS / 2,
      seconds: MEMORY_SECONDS,
      core: LOAD_CORE,
    };
    const counts: number[] = [];
    const sizes: number[] = [];
    for (let at = 0; at < 2; at += 1) {
      counts.push((await loadServer(product, half)).count);
      sizes.push(residentMB(product.pid));
    }
    if (counts.some((count) => count < half.count)) throw new Error(`only ${counts.join(' + ')} reviews in the time`);
    const [middle = 0, end = 0] = sizes;
    report.note(
      `resident: ${began.toFixed(0)} MB at the start, ${middle.toFixed(0)} after ${half.count} reviews, ${end.toFixed(0)} after ${MEMORY_REVIEWS}`,
    );
    report.ratio('webhook-rss-mb', end, '<=', 160);
    report.ratio('webhook-rss-second-half', end / middle, '<=', 1.05);
  } finally {
    await product.stop();
  }
}

function residentMB(pid: number): number {
  const [, kilobytes = 'NaN'] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return (Number(kilobytes) * 1024) / 1e6;
}
