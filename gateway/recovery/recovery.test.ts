// SPDX-License-Identifier: Apache-2.0
import { afterEach, describe, expect, test } from 'vitest';
import { uuid7 } from '#base/uuid7.ts';
import { seededRandom } from '#base/random.ts';
import { MIRRORED_RUN_KEY, generationKey, resultKey } from '../store/keys.ts';
import { FakeWorld } from './fake-world.ts';
import { createMirror } from './mirror.ts';
import { createRecovery } from './recovery.ts';
import type { Recovery } from './recovery.ts';

const NONCE = '0123456789abcdef';
/** Longer than the mirror's interval. */
const TURN_MS = 5_000;
const random = seededRandom(1);
const running: Recovery[] = [];

afterEach(async () => {
  for (const one of running.splice(0)) await one.stop();
});

/** Another gateway on this world, its queue at the given generations. */
function gateway(world: FakeWorld, generations: Readonly<Record<string, number>> = {}) {
  for (const [app, value] of Object.entries(generations)) world.queue.generation.set(app, value);
  const options = world.options();
  const recovery = createRecovery(options);
  void recovery.start();
  running.push(recovery);
  const counted = async (metric: string): Promise<number> => {
    const line = (await options.registry.metrics()).split('\n').find((one) => one.startsWith(metric));
    return Number(line?.split(' ').at(-1));
  };
  return { recovery, counted, queue: options.queue };
}

/** Lets what waits for no time end. */
const settle = (world: FakeWorld): Promise<void> => world.clock.advance(0);
const turn = (world: FakeWorld): Promise<void> => world.clock.advance(TURN_MS);
const mirrored = (world: FakeWorld, app: string): unknown => JSON.parse(world.store.text(generationKey(app)) ?? 'null');

function request(world: FakeWorld, app: string, patch: { readonly cancelRequested?: boolean } = {}): string {
  const id = uuid7(world.clock, random);
  world.queue.live.set(app, [...(world.queue.live.get(app) ?? []), { id, cancelRequested: false, ...patch }]);
  return id;
}

function result(world: FakeWorld, app: string, id: string, epoch: number, text = `epoch ${epoch}`): string {
  const key = resultKey(app, id, { epoch, nonce: NONCE });
  world.store.add(key, text);
  return key;
}

describe('the mirror', () => {
  test('says how far each app has come and which process holds the queue; at rest nothing is read or written', async () => {
    const world = new FakeWorld('a', 'b');
    const { queue } = gateway(world, { a: 3, b: 0 });
    await turn(world);
    expect(mirrored(world, 'a')).toEqual({ generation: 3 });
    expect(world.store.text(MIRRORED_RUN_KEY)).toBe('{"run":"run-1"}\n');
    expect(world.store.objects.has(generationKey('b'))).toBe(false);
    await turn(world);
    const [puts, { reads }] = [world.store.puts.length, world.store];
    for (let i = 0; i < 10; i++) await turn(world);
    expect([world.store.puts.length, world.store.reads]).toEqual([puts, reads]);
    world.queue.generation.set('a', 7);
    await queue.generation('a');
    await turn(world);
    expect(mirrored(world, 'a')).toEqual({ generation: 7 });
  });

  test('does not stay behind when a slower replica has overwritten it', async () => {
    const world = new FakeWorld('a');
    const fast = createMirror(world.store.driver);
    const slow = createMirror(world.store.driver);
    await Promise.all([fast.raise('a', 9), slow.raise('a', 7)]);
    world.store.add(generationKey('a'), '{"generation":7}');
    await Promise.all([slow.raise('a', 7), fast.raise('a', 9)]);
    await slow.raise('a', 8);
    expect(mirrored(world, 'a')).toEqual({ generation: 9 });
  });

  test('has no entry of an app that is being deleted, or that is not known', async () => {
    const world = new FakeWorld('a', 'gone');
    world.apps.set('gone', { uid: 'gone', deleting: true });
    const { queue } = gateway(world, { a: 1, gone: 5, other: 6 });
    for (const app of ['a', 'gone', 'other']) await queue.generation(app);
    await turn(world);
    expect([...world.store.objects.keys()].toSorted()).toEqual([generationKey('a'), MIRRORED_RUN_KEY]);
  });

  test('takes the last changes when the gateway stops', async () => {
    const world = new FakeWorld('a');
    const { recovery } = gateway(world, { a: 4 });
    await settle(world);
    await recovery.stop();
    expect(mirrored(world, 'a')).toEqual({ generation: 4 });
  });

  test.each(['nonsense', '[]', 'null', '{"generation":"9"}', 'x'.repeat(2000)])(
    'an entry that is none of ours (%#) is no knowledge, and is replaced',
    async (text) => {
      const world = new FakeWorld('a');
      world.store.add(generationKey('a'), text);
      const { counted } = gateway(world, { a: 4 });
      await turn(world);
      expect(mirrored(world, 'a')).toEqual({ generation: 4 });
      expect(await counted('penstock_queue_regressions_total{kind="went-back"')).toBe(0);
    },
  );
});

describe('a queue that went back', () => {
  async function lost(): Promise<FakeWorld> {
    const world = new FakeWorld('a', 'b');
    const { recovery } = gateway(world, { a: 10, b: 5 });
    await settle(world);
    await recovery.stop();
    return world;
  }

  test('is found at the start: stored results are salvaged, leases are held meanwhile, and it is reported once', async () => {
    const world = await lost();
    const [done, open, cancelled] = [
      request(world, 'a'),
      request(world, 'a'),
      request(world, 'a', { cancelRequested: true }),
    ];
    result(world, 'a', done, 9);
    const key = result(world, 'a', done, 10);
    result(world, 'a', cancelled, 1);
    const { recovery, counted } = gateway(world, { a: 8 });
    const lifted: string[] = [];
    recovery.onLift((app) => lifted.push(app));
    expect([recovery.held('a'), recovery.held('b'), recovery.held('unknown')]).toEqual([true, true, false]);
    expect(recovery.note()).toContain('the queue of 2 apps is being compared');
    await settle(world);
    expect([recovery.held('a'), recovery.held('b')]).toEqual([false, false]);
    expect(lifted.toSorted()).toEqual(['a', 'b']);
    expect([...world.queue.salvaged]).toEqual([[done, { contentType: 'text/plain', bytes: 8, key }]]);
    expect(world.queue.salvaged.has(open)).toBe(false);
    expect(world.queue.generation.get('a')).toBe(11);
    expect(await counted('penstock_queue_regressions_total{kind="went-back"')).toBe(1);
    expect(await counted('penstock_recovery_salvaged_total')).toBe(1);
    expect(recovery.note()).toMatch(/^the queue of 1 apps went back at /);
    await recovery.stop();

    const next = gateway(world);
    await settle(world);
    expect(await next.counted('penstock_queue_regressions_total{kind="went-back"')).toBe(0);
    expect(next.recovery.note()).toBeUndefined();
  });

  test('a result in gzip is salvaged as gzip; of two with one epoch the newer one', async () => {
    const world = await lost();
    const id = request(world, 'a');
    result(world, 'a', id, 1, 'older');
    const newer = resultKey('a', id, { epoch: 1, nonce: 'f'.repeat(16) });
    world.store.add(newer, 'newer', 'text/plain; penstock-encoding=gzip', 1);
    gateway(world, { a: 8 });
    await settle(world);
    expect(world.queue.salvaged.get(id)).toEqual({
      contentType: 'text/plain',
      contentEncoding: 'gzip',
      bytes: 5,
      key: newer,
    });
  });

  test('many requests are walked page by page; a store that fails in between only delays it', async () => {
    const world = await lost();
    const ids = Array.from({ length: 1_200 }, () => request(world, 'a'));
    for (const id of ids) result(world, 'a', id, 1);
    let pages = 0;
    world.queue.gate = async () => {
      pages += 1;
      if (pages === 3) world.store.down = true;
    };
    const { recovery, counted } = gateway(world, { a: 8 });
    await settle(world);
    expect([recovery.held('a'), await recovery.trusted('a')]).toEqual([true, false]);
    expect(world.queue.generation.get('a')).toBe(8);
    world.store.down = false;
    await turn(world);
    expect(world.queue.salvaged.size).toBe(1_200);
    expect(recovery.held('a')).toBe(false);
    expect(await counted('penstock_recovery_salvaged_total')).toBe(1_200);
    expect(await counted('penstock_queue_regressions_total{kind="went-back"')).toBe(1);
    // Three pages, and the same again.
    expect(pages).toBe(6);
  });

  test('leases go on within the minute although the walk has not ended, and it ends later', async () => {
    const world = await lost();
    const id = request(world, 'a');
    result(world, 'a', id, 1);
    const gate = Promise.withResolvers<void>();
    world.queue.gate = () => gate.promise;
    const { recovery } = gateway(world, { a: 8 });
    await world.clock.advance(40_000);
    expect(recovery.held('a')).toBe(true);
    await world.clock.advance(10_000);
    expect([recovery.held('a'), recovery.held('b')]).toEqual([false, false]);
    gate.resolve();
    await settle(world);
    expect([...world.queue.salvaged.keys()]).toEqual([id]);
    expect(world.queue.generation.get('a')).toBe(11);
  });

  test('is heard of from the driver while the gateway lives', async () => {
    const world = new FakeWorld('a', 'b');
    const { recovery, counted } = gateway(world, { a: 10, b: 5 });
    await settle(world);
    const id = request(world, 'a');
    result(world, 'a', id, 1);
    world.queue.generation.set('a', 4);
    world.queue.tell({ kind: 'went-back', app: 'a', seen: 10, found: 4 });
    expect([recovery.held('a'), recovery.held('b'), await recovery.trusted('a')]).toEqual([true, false, false]);
    await settle(world);
    expect(recovery.held('a')).toBe(false);
    expect(await recovery.trusted('a')).toBe(true);
    expect([...world.queue.salvaged.keys()]).toEqual([id]);
    expect(world.queue.generation.get('a')).toBe(11);
    expect(await counted('penstock_queue_regressions_total{kind="went-back"')).toBe(1);
  });

  test('is believed of the driver although another replica has raised the generation meanwhile', async () => {
    const world = new FakeWorld('a');
    const { counted } = gateway(world, { a: 10 });
    await settle(world);
    world.queue.generation.set('a', 12);
    world.queue.tell({ kind: 'went-back', app: 'a', seen: 10, found: 4 });
    await settle(world);
    expect(await counted('penstock_queue_regressions_total{kind="went-back"')).toBe(1);
  });

  test('is not believed any more by whoever asks before removing objects, and is then recovered', async () => {
    const world = new FakeWorld('a');
    const { recovery } = gateway(world, { a: 10 });
    await settle(world);
    world.queue.generation.set('a', 0);
    expect(await recovery.trusted('a')).toBe(false);
    await settle(world);
    expect(await recovery.trusted('a')).toBe(true);
    expect(await recovery.trusted('deleted')).toBe(true);
  });
});

describe('a restart of the queue', () => {
  test('that no gateway saw makes every app suspect: walked, not counted as lost, and forgotten when all are done', async () => {
    const world = new FakeWorld('a', 'b');
    const first = gateway(world, { a: 10, b: 5 });
    await settle(world);
    await first.recovery.stop();
    const id = request(world, 'b');
    result(world, 'b', id, 1);
    world.queue.run = 'run-2';
    const second = gateway(world);
    await settle(world);
    expect([...world.queue.salvaged.keys()]).toEqual([id]);
    expect(await second.counted('penstock_queue_regressions_total{kind="suspect"')).toBe(2);
    expect(await second.counted('penstock_queue_regressions_total{kind="went-back"')).toBe(0);
    expect(second.recovery.note()).toBeUndefined();
    await second.recovery.stop();
    expect(world.store.text(MIRRORED_RUN_KEY)).toBe('{"run":"run-2"}\n');
    const third = gateway(world);
    await settle(world);
    expect(await third.counted('penstock_queue_regressions_total{kind="suspect"')).toBe(0);
  });

  test('stays unnoted while an app is not compared, so that the next gateway finds it again', async () => {
    const world = new FakeWorld('a');
    const first = gateway(world, { a: 10 });
    await settle(world);
    await first.recovery.stop();
    world.queue.run = 'run-2';
    const gate = Promise.withResolvers<void>();
    world.queue.gate = () => gate.promise;
    const second = gateway(world);
    await world.clock.advance(60_000);
    expect(second.recovery.held('a')).toBe(false);
    expect(world.store.text(MIRRORED_RUN_KEY)).toBe('{"run":"run-1"}\n');
    gate.resolve();
    await settle(world);
    await turn(world);
    expect(world.store.text(MIRRORED_RUN_KEY)).toBe('{"run":"run-2"}\n');
  });

  test('that a gateway lived through is no loss while the numbers hold', async () => {
    const world = new FakeWorld('a', 'b');
    const { recovery, counted } = gateway(world, { a: 10, b: 5 });
    await settle(world);
    world.queue.run = 'run-2';
    world.queue.generation.set('b', 4);
    world.queue.tell({ kind: 'restarted', run: 'run-2' });
    expect([recovery.held('a'), recovery.held('b')]).toEqual([true, true]);
    await settle(world);
    expect([recovery.held('a'), recovery.held('b')]).toEqual([false, false]);
    expect(await counted('penstock_queue_regressions_total{kind="suspect"')).toBe(0);
    expect(await counted('penstock_queue_regressions_total{kind="went-back"')).toBe(1);
    await turn(world);
    expect(world.store.text(MIRRORED_RUN_KEY)).toBe('{"run":"run-2"}\n');
  });
});
