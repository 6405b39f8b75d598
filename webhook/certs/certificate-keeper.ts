// SPDX-License-Identifier: Apache-2.0
import { createController } from '#kube/controller.ts';
import type { Controller, ReconcileResult } from '#kube/controller.ts';
import { createInformer } from '#kube/informer.ts';
import type { Informer } from '#kube/informer.ts';
import { SECRETS } from '#kube/resource.ts';
import type { RateLimits } from '#kube/rate-limiter.ts';
import { createCaBundles } from './ca-bundles.ts';
import type { CaBundles } from './ca-bundles.ts';
import { createCertificateMetrics } from './certificate-metrics.ts';
import { createCertificateWriter } from './certificate-writer.ts';
import type { CertificateWriter } from './certificate-writer.ts';
import { changeOver } from './change-over.ts';
import { createSecretStore } from './secret.ts';
import type { CertificateSecret, SecretStore } from './secret.ts';
import type { KeyPair, ServingCertificate, ServingCertificateOptions } from './serving-certificate.ts';
import { certificateTimes } from './times.ts';
import type { CertificateTimes } from './times.ts';
import { bundleOf, readTrust } from './trust.ts';
import type { Leaf, Trust } from './trust.ts';

/** There is one thing to keep. */
const KEY = 'certificate';
/** Changes within this time are looked at together, so that somebody who writes in a loop costs ten looks a second at most. */
const GATHER_MS = 100;
/** Two replicas that start together meet in a conflict or two; an API server that is away is asked four times a minute. */
const RETRIES: RateLimits = { firstMs: 50, maxMs: 15_000, perSecond: 5, burst: 20 };

/**
 * Every replica runs it, and none leads: the Secret's resourceVersion lets one write through, the others read what it wrote. Each
 * replica goes on with the leaf that it serves until it has itself seen every caBundle trust the successor.
 */
export class CertificateKeeper implements ServingCertificate {
  readonly #options: ServingCertificateOptions;
  readonly #times: CertificateTimes;
  readonly #host: string;
  readonly #store: SecretStore;
  readonly #informer: Informer<CertificateSecret>;
  readonly #bundles: CaBundles;
  readonly #writer: CertificateWriter;
  readonly #controller: Controller;
  readonly #metrics: ReturnType<typeof createCertificateMetrics>;
  readonly #listeners = new Set<(pair: KeyPair) => void>();
  #served: Leaf | undefined;
  /** Every caBundle has trusted what is served at least once. */
  #trusted = false;
  /** Why the last look failed. */
  #trouble: string | undefined;

  constructor(options: ServingCertificateOptions) {
    const { client, namespace, service, registry } = options;
    this.#options = options;
    this.#times = certificateTimes(options.times);
    this.#host = `${service}.${namespace}.svc`;
    this.#store = createSecretStore(client, namespace);
    this.#metrics = createCertificateMetrics(registry);
    const { ref } = this.#store;
    const scope = { resource: SECRETS, namespace, fieldSelector: `metadata.name=${ref.name}` };
    this.#informer = createInformer<CertificateSecret>(options, scope);
    this.#bundles = createCaBundles(options, () => this.#look());
    this.#writer = createCertificateWriter({
      ...options,
      store: this.#store,
      times: this.#times,
      metrics: this.#metrics,
    });
    this.#controller = createController({
      ...options,
      name: 'certificate',
      workers: 1,
      rateLimits: RETRIES,
      reconcile: (_key, signal) => this.#reconcile(signal),
    });
    this.#informer.cache.onChange(() => this.#look());
  }

  current(): KeyPair | undefined {
    return this.#served && pairOf(this.#served);
  }

  onChange(listener: (pair: KeyPair) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  notReady(): string | undefined {
    if (!this.#served)
      return `no serving certificate: ${this.#bundles.trouble()?.message ?? this.#trouble ?? 'its Secret has not been read yet'}`;
    const end = this.#served.certificate.validToDate;
    if (this.#options.clock.now() >= end.getTime())
      return `the serving certificate has expired on ${end.toISOString()}`;
    // Only at first: an API server that trusts us no more does not reach us, whether or not we are among the endpoints.
    return this.#trusted ? undefined : 'no caBundle of the webhook configurations trusts the serving certificate yet';
  }

  start(): void {
    this.#informer.start();
    if (this.#options.mode === 'self') this.#bundles.start();
    this.#controller.start();
    this.#controller.enqueue(KEY);
  }

  async stop(): Promise<void> {
    await this.#controller.stop();
    await Promise.all([this.#informer.stop(), this.#bundles.stop()]);
  }

  #look(): void {
    this.#controller.enqueueAfter(KEY, GATHER_MS);
  }

  async #reconcile(signal: AbortSignal): Promise<ReconcileResult> {
    try {
      this.#trouble = undefined;
      const waitMs = this.#options.mode === 'self' ? await this.#keep(signal) : await this.#adopt(signal);
      return { requeueAfterMs: Math.max(GATHER_MS, Math.min(waitMs, this.#times.checkMs)) };
    } catch (err) {
      this.#trouble = err instanceof Error ? err.message : String(err);
      throw err;
    }
  }

  /** One look at everything that is ours. Answers after how long another one is worth while even if nothing happens. */
  async #keep(signal: AbortSignal): Promise<number> {
    // A replica that has not seen the bundles would forget a CA that another one still serves by. Its first event comes.
    if (!this.#bundles.hasSynced()) {
      this.#trouble = 'the webhook configurations have not been listed yet';
      return this.#times.checkMs;
    }
    // In this order: the picture first, then what the bundles are to be (CaBundles.picture).
    const write = this.#bundles.picture();
    const before = await this.#store.read(signal);
    const stored = readTrust(before?.data);
    const trust = await this.#writer.bringUp({
      before,
      situation: {
        stored,
        served: this.#served,
        configured: this.#bundles.authorities(),
        host: this.#host,
        now: this.#options.clock.now(),
        times: this.#times,
      },
      signal,
    });
    const written = await write(bundleOf(trust.authorities), signal);
    for (const configuration of written) this.#writer.tellBundle(configuration, trust);
    return this.#serveTrusted(trust);
  }

  /** What somebody else keeps is served as it is. */
  async #adopt(signal: AbortSignal): Promise<number> {
    const { leaf, damage } = readTrust((await this.#store.read(signal))?.data);
    if (leaf) this.#serve(leaf);
    else this.#trouble = damage.join(', ') || `Secret ${this.#store.ref.name} holds no certificate yet`;
    this.#trusted = true;
    return this.#times.checkMs;
  }

  #serveTrusted({ leaf }: Trust): number {
    if (!leaf?.authority) return this.#times.checkMs;
    const now = this.#options.clock.now();
    const trustedForMs = this.#bundles.trustedForMs(leaf.authority);
    const moment = { stored: leaf, served: this.#served, trustedForMs, host: this.#host, now, times: this.#times };
    const change = changeOver(moment);
    if (change.when === 'later') return change.waitMs;
    this.#serve(leaf);
    this.#trusted ||= trustedForMs !== undefined;
    return leaf.certificate.validToDate.getTime() - this.#times.lookaheadMs - now;
  }

  #serve(leaf: Leaf): void {
    if (leaf.chain === this.#served?.chain && leaf.key === this.#served.key) return;
    const end = leaf.certificate.validToDate;
    this.#served = leaf;
    this.#metrics.serves(end.getTime());
    const { serialNumber: serial, issuer } = leaf.certificate;
    this.#options.logger.info({ serial, issuer, notAfter: end.toISOString() }, 'serving another certificate');
    for (const listener of this.#listeners) listener(pairOf(leaf));
  }
}

function pairOf({ key, chain }: Leaf): KeyPair {
  return { key, cert: chain };
}
