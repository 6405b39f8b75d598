// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import type { FakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import type { Random } from '#base/random.ts';
import { ObjectCache } from './cache.ts';
import type { KubeClient, ListOptions, WatchOptions } from './client.ts';
import { KubeError } from './errors.ts';
import { createKubeMetrics } from './kube-metrics.ts';
import { SILENCE_LIMIT_MS, createReflector } from './reflector.ts';
import type { Reflector } from './reflector.ts';
import { CONFIG_MAPS } from './resource.ts';
import type { KubeObject, Page, WatchFrame } from './types.ts';

/** What happens at the n-th list or watch. */
type ListStep = Page<KubeObject> | KubeError;
/** Frames, and the ending: an error is thrown, 'end' ends in order, 'hang' stays silent until aborted. */
type WatchStep = { frames?: WatchFrame<KubeObject>[]; ending: KubeError | 'end' | 'hang' };

interface World {
  readonly clock: FakeClock;
  readonly cache: ObjectCache<KubeObject>;
  readonly reflector: Reflector;
  /** `list`, `list <continue>`, `watch <resourceVersion>`, each with the time at which it came. */
  readonly calls: [number, string][];
  readonly watches: WatchOptions[];
}

const noJitter: Random = { bytes: (n) => new Uint8Array(n), fraction: () => 1 - Number.EPSILON };
const refused = new KubeError('refused', { status: 0, reason: 'ConnectionFailed' });
const gone = new KubeError('too old', { status: 410, reason: 'Expired' });

function anObject(name: string, resourceVersion: string, uid = name): KubeObject {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'ns', name, uid, resourceVersion } };
}
function aPage(resourceVersion: string, ...items: KubeObject[]): Page<KubeObject> {
  return { items, resourceVersion };
}
function bookmark(resourceVersion: string): WatchFrame<KubeObject> {
  return { type: 'BOOKMARK', object: { metadata: { resourceVersion } } as KubeObject };
}

function aWorld(
  lists: ListStep[],
  watches: WatchStep[],
  more: { keep?: (object: KubeObject) => KubeObject } = {},
): World {
  const clock = createFakeClock();
  const metrics = createKubeMetrics(createRegistry('test', false));
  const cache = new ObjectCache<KubeObject>({ name: 'configmaps', logger: silentLogger, metrics });
  const calls: [number, string][] = [];
  const asked: WatchOptions[] = [];
  const client = {
    list: async (_resource: unknown, options: ListOptions) => {
      calls.push([
        clock.monotonic(),
        options.continueToken ? `list ${options.continueToken}` : options.limit ? 'list' : 'list all',
      ]);
      const step = lists.shift() ?? refused;
      if (step instanceof KubeError) throw step;
      return step;
    },
    watch: async function* (_resource: unknown, options: WatchOptions) {
      calls.push([clock.monotonic(), `watch ${options.resourceVersion}`]);
      asked.push(options);
      const step = watches.shift() ?? { ending: 'hang' };
      yield* step.frames ?? [];
      if (step.ending === 'end') return;
      if (step.ending !== 'hang') throw step.ending;
      await new Promise((_resolve, reject) =>
        options.signal.addEventListener('abort', () => reject(options.signal.reason)),
      );
    },
  } as unknown as KubeClient;
  const reflector = createReflector({
    client,
    resource: CONFIG_MAPS,
    sink: cache,
    clock,
    random: noJitter,
    logger: silentLogger,
    metrics,
    ...more,
  });
  return { clock, cache, reflector, calls, watches: asked };
}

const names = ({ cache }: World): string[] => cache.list().map(({ metadata }) => metadata.name);
const verbs = ({ calls }: World): string[] => calls.map(([, verb]) => verb);

describe('reflector', () => {
  test('lists, then watches from the list, with bookmarks and a random end', async () => {
    const world = aWorld([aPage('10', anObject('a', '1'))], []);
    world.reflector.start();
    await world.clock.advance(0);
    expect(verbs(world)).toEqual(['list', 'watch 10']);
    expect(world.cache.hasSynced()).toBe(true);
    expect(world.watches[0]?.timeoutSeconds).toBe(600);
    await world.reflector.stop();
  });

  test('follows the pages of a list and watches from its resourceVersion', async () => {
    const pages = [{ ...aPage('10', anObject('a', '1')), continueToken: 'p2' }, aPage('10', anObject('b', '2'))];
    const world = aWorld(pages, []);
    world.reflector.start();
    await world.clock.advance(0);
    expect(verbs(world)).toEqual(['list', 'list p2', 'watch 10']);
    expect(names(world)).toEqual(['a', 'b']);
    await world.reflector.stop();
  });

  test('keeps of each object, listed or watched, what it is told to keep', async () => {
    const labelled = (object: KubeObject): KubeObject => ({
      ...object,
      metadata: { ...object.metadata, annotations: { long: 'story' } },
    });
    const frames: WatchFrame<KubeObject>[] = [
      { type: 'ADDED', object: labelled(anObject('b', '11')) },
      bookmark('12'),
      { type: 'DELETED', object: labelled(anObject('a', '13')) },
    ];
    const keep = ({ metadata: { annotations: _, ...metadata } }: KubeObject): KubeObject => ({ metadata });
    const world = aWorld(
      [aPage('10', labelled(anObject('a', '1')), labelled(anObject('c', '2')))],
      [{ frames, ending: 'hang' }],
      { keep },
    );
    world.reflector.start();
    await world.clock.advance(0);
    const kept = (name: string, resourceVersion: string) => ({
      metadata: { namespace: 'ns', name, uid: name, resourceVersion },
    });
    expect(world.cache.list()).toEqual([kept('c', '2'), kept('b', '11')]);
    await world.reflector.stop();
  });

  test('a page token that expired is a list without pages', async () => {
    const world = aWorld(
      [{ ...aPage('10', anObject('a', '1')), continueToken: 'p2' }, gone, aPage('20', anObject('b', '15'))],
      [],
    );
    world.reflector.start();
    await world.clock.advance(0);
    expect(verbs(world)).toEqual(['list', 'list p2', 'list all', 'watch 20']);
    expect(names(world)).toEqual(['b']);
    await world.reflector.stop();
  });

  test('resumes from the last event or bookmark, whichever came last', async () => {
    const frames: WatchFrame<KubeObject>[] = [{ type: 'ADDED', object: anObject('a', '11') }, bookmark('40')];
    const world = aWorld([aPage('10')], [{ frames, ending: refused }]);
    world.reflector.start();
    await world.clock.advance(1_000);
    expect(verbs(world)).toEqual(['list', 'watch 10', 'watch 40']);
    await world.reflector.stop();
  });

  test('backs off from 0.8 s to 30 s while it fails, and starts anew after two healthy minutes', async () => {
    const world = aWorld(
      [refused, refused, refused, refused, refused, refused, refused, refused, aPage('10')],
      [{ ending: 'hang' }, { ending: refused }],
    );
    world.reflector.start();
    await world.clock.advance(200_000);
    const at = world.calls.map(([time]) => Math.round(time));
    const gaps = at.slice(1).map((time, i) => time - (at[i] ?? 0));
    // The watch that hangs is ended by the silence limit, which also makes it a healthy one.
    expect(gaps.slice(0, 8)).toEqual([800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    expect(verbs(world).slice(8, 10)).toEqual(['list', 'watch 10']);
    await world.clock.advance(70_000);
    const watches = world.calls.filter(([, verb]) => verb.startsWith('watch')).map(([time]) => Math.round(time));
    expect((watches[1] ?? 0) - (watches[0] ?? 0)).toBe(SILENCE_LIMIT_MS + 800);
    expect((watches[2] ?? 0) - (watches[1] ?? 0)).toBe(1600);
    await world.reflector.stop();
  });

  test('waits as long as the server asks', async () => {
    const busy = new KubeError('busy', { status: 429, reason: 'TooManyRequests', retryAfterMs: 7_000 });
    const world = aWorld([busy, aPage('10')], []);
    world.reflector.start();
    await world.clock.advance(6_999);
    expect(verbs(world)).toEqual(['list']);
    await world.clock.advance(1);
    expect(verbs(world)).toEqual(['list', 'list', 'watch 10']);
    await world.reflector.stop();
  });

  test.for([
    ['410 over HTTP or in the stream', gone, ['list', 'watch 10', 'list', 'watch 20']],
    ['a connection reset', refused, ['list', 'watch 10', 'watch 10']],
    [
      'an internal error in the stream',
      new KubeError('x', { status: 500, reason: 'InternalError' }),
      ['list', 'watch 10', 'watch 10'],
    ],
    ['no permission', new KubeError('x', { status: 403, reason: 'Forbidden' }), ['list', 'watch 10', 'watch 10']],
    [
      'a frame that is no JSON',
      new KubeError('x', { status: 0, reason: 'MalformedAnswer' }),
      ['list', 'watch 10', 'list', 'watch 20'],
    ],
  ] as const)('after %s it goes on', async ([, error, wanted]) => {
    const world = aWorld(
      [aPage('10', anObject('a', '1'), anObject('b', '2')), aPage('20', anObject('b', '2'))],
      [{ ending: error }],
    );
    world.reflector.start();
    await world.clock.advance(1_000);
    expect(verbs(world)).toEqual(wanted);
    expect(names(world)).toEqual(wanted.at(-1) === 'watch 20' ? ['b'] : ['a', 'b']);
    await world.reflector.stop();
  });

  test('a watch that the server ends at once does not make it spin', async () => {
    const world = aWorld(
      [aPage('10')],
      Array.from({ length: 50 }, () => ({ ending: 'end' }) as const),
    );
    world.reflector.start();
    await world.clock.advance(60_000);
    expect(world.calls.length).toBeLessThan(10);
    await world.reflector.stop();
  });

  test('lists again after half an hour of watches, whatever they said', async () => {
    const world = aWorld([aPage('10'), aPage('90')], []);
    world.reflector.start();
    await world.clock.advance(32 * 60_000);
    expect(verbs(world).filter((verb) => verb === 'list')).toHaveLength(2);
    expect(verbs(world).at(-1)).toBe('watch 90');
    await world.reflector.stop();
  });

  test('says what is wrong while it is', async () => {
    const world = aWorld([refused, aPage('10')], []);
    world.reflector.start();
    await world.clock.advance(100);
    expect(world.reflector.trouble()).toBe(refused);
    await world.clock.advance(1_000);
    expect(world.reflector.trouble()).toBeUndefined();
    await world.reflector.stop();
  });

  test('stopped while it waits to try again, it never calls again and leaves no timer', async () => {
    const world = aWorld([refused], []);
    world.reflector.start();
    await world.clock.advance(10);
    await world.reflector.stop();
    await world.clock.advance(600_000);
    expect(verbs(world)).toEqual(['list']);
    expect(world.clock.sleepers()).toBe(0);
    expect(() => world.reflector.start()).toThrow('stopped');
  });

  test('stopped in the middle of a watch, it takes no frame any more', async () => {
    const world = aWorld([aPage('10')], [{ ending: 'hang' }]);
    world.reflector.start();
    await world.clock.advance(0);
    await world.reflector.stop();
    expect(world.watches[0]?.signal.aborted).toBe(true);
    expect(world.clock.sleepers()).toBe(0);
  });
});
