// SPDX-License-Identifier: Apache-2.0
import { Readable } from 'node:stream';
import { createFakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import { seededRandom } from '#base/random.ts';
import type { ServedApp } from '../apps/app-source.ts';
import type { LivePage, Payload, Regression, RequestRecord } from '../queue/lease-queue.ts';
import { storeError } from '../store/errors.ts';
import type { ListedObject } from '../store/object-store.ts';
import type { RecoveryOptions } from './recovery.ts';

/** The truth of a queue, whatever number of gateways look at it. */
export class FakeQueue {
  run = 'run-1';
  readonly generation = new Map<string, number>();
  readonly live = new Map<string, Partial<RequestRecord>[]>();
  readonly salvaged = new Map<string, Payload>();
  /** Awaited before each page of live requests. */
  gate: () => Promise<void> = async () => {};
  readonly #listeners = new Set<(found: Regression) => void>();

  tell(found: Regression): void {
    for (const listener of this.#listeners) listener(found);
  }

  /** As one gateway is connected to it. */
  driver(): RecoveryOptions['queue'] {
    const seen = new Map<string, number>();
    return {
      generations: () => seen,
      generation: async (app, atLeast = 0) => {
        const value = Math.max(this.generation.get(app) ?? 0, atLeast);
        this.generation.set(app, value);
        seen.set(app, Math.max(value, seen.get(app) ?? 0));
        return value;
      },
      run: async () => this.run,
      onRegression: (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
      live: async (app, limit, cursor = '0'): Promise<LivePage> => {
        await this.gate();
        const from = Number(cursor);
        const all = this.live.get(app) ?? [];
        const records = all.slice(from, from + limit) as RequestRecord[];
        return { records, ...(from + limit < all.length ? { cursor: String(from + limit) } : {}) };
      },
      salvage: async (app, id, result) => {
        const found = (this.live.get(app) ?? []).some((record) => record.id === id);
        if (!found || this.salvaged.has(id)) return 'lost';
        this.salvaged.set(id, result);
        return 'committed';
      },
    };
  }
}

export class FakeStore {
  readonly objects = new Map<
    string,
    { readonly bytes: Uint8Array; readonly contentType: string; readonly at: number }
  >();
  puts: string[] = [];
  reads = 0;
  down = false;

  text(key: string): string | undefined {
    return this.objects.get(key) && Buffer.from(this.objects.get(key)?.bytes ?? []).toString();
  }

  add(key: string, text: string, contentType = 'text/plain', at = 0): void {
    this.objects.set(key, { bytes: Buffer.from(text), contentType, at });
  }

  readonly driver: RecoveryOptions['store'] = {
    get: async (key) => {
      this.reads += 1;
      const info = await this.driver.head(key);
      if (info === undefined) throw storeError('not-found', 'no such object');
      return { info, body: Readable.from([Buffer.from(this.objects.get(key)?.bytes ?? [])]) };
    },
    head: async (key) => {
      this.#check();
      const found = this.objects.get(key);
      return found && { ...this.#listed(key), contentType: found.contentType };
    },
    list: async (prefix) => {
      this.#check();
      return {
        objects: [...this.objects.keys()].filter((key) => key.startsWith(prefix)).map((key) => this.#listed(key)),
      };
    },
    put: async (key, body, { contentType }) => {
      this.#check();
      this.puts.push(key);
      this.objects.set(key, { bytes: body as Uint8Array, contentType, at: 0 });
      return { ...this.#listed(key), contentType };
    },
  };

  #check(): void {
    if (this.down) throw storeError('unavailable', 'the store is away');
  }

  #listed(key: string): ListedObject {
    const { bytes, at } = this.objects.get(key) ?? { bytes: [], at: 0 };
    return { key, bytes: bytes.length, modifiedAt: at };
  }
}

/** Queue, store and apps that outlive gateways; each `options()` is another gateway. */
export class FakeWorld {
  readonly queue = new FakeQueue();
  readonly store = new FakeStore();
  readonly clock = createFakeClock();
  readonly apps: Map<string, Pick<ServedApp, 'uid' | 'deleting'>>;
  synced = true;

  constructor(...uids: readonly string[]) {
    this.apps = new Map(uids.map((uid) => [uid, { uid, deleting: false }]));
  }

  options(): RecoveryOptions & { readonly registry: Registry } {
    return {
      queue: this.queue.driver(),
      store: this.store.driver,
      apps: {
        list: () => [...this.apps.values()] as ServedApp[],
        byUid: (uid) => this.apps.get(uid) as ServedApp | undefined,
        onChange: () => () => {},
        synced: () => this.synced,
      },
      clock: this.clock,
      random: seededRandom(1),
      logger: silentLogger,
      registry: createRegistry('test', false),
    };
  }
}
