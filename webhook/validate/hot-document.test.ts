// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { ObjectCache } from '#kube/cache.ts';
import type { EventInput } from '#kube/events.ts';
import { createKubeMetrics } from '#kube/kube-metrics.ts';
import { createDocumentMetrics, createHotDocument } from './hot-document.ts';
import type { ConfigMapObject } from './hot-document.ts';

const KEY = 'numbers.yaml';

function setUp() {
  const lines: string[] = [];
  const logger = { ...silentLogger, info: (_fields: object, message: string): void => void lines.push(message) };
  const registry = createRegistry('test', false);
  const configMaps = new ObjectCache<ConfigMapObject>({
    name: 'configmaps',
    logger: silentLogger,
    metrics: createKubeMetrics(registry),
  });
  const events: EventInput[] = [];
  const metrics = createDocumentMetrics(registry, [KEY]);
  const document = createHotDocument({
    configMaps,
    configMap: 'settings',
    key: KEY,
    parse: (text) => {
      if (text === 'bad') throw new Error('is no number; write one');
      return text === '' ? undefined : Number(text);
    },
    events: { record: (event) => void events.push(event) },
    logger,
    metrics,
  });
  let version = 0;
  const write = (data?: Record<string, string>): void =>
    configMaps.put({
      metadata: { name: 'settings', uid: 'u', resourceVersion: String(++version) },
      ...(data ? { data } : {}),
    });
  const good = async (): Promise<number | undefined> => (await metrics.good.get()).values[0]?.value;
  return { configMaps, document, events, lines, write, good };
}

describe('a document', () => {
  it('is not known before anybody has looked', () => {
    const { configMaps, document } = setUp();
    expect(document.current()).toEqual({ state: 'unknown', why: 'ConfigMap settings has not been looked for yet' });
    configMaps.replace([]);
    expect(document.current()).toEqual({ state: 'absent' });
  });

  it('is what was written last, as long as it fits', async () => {
    const { configMaps, document, events, write, good } = setUp();
    configMaps.replace([]);
    write({ [KEY]: '1' });
    expect(document.current()).toEqual({ state: 'known', value: 1 });
    write({ [KEY]: 'bad' });
    expect(document.current()).toEqual({ state: 'known', value: 1 });
    expect(await good()).toBe(0);
    write({ [KEY]: '2' });
    expect(document.current()).toEqual({ state: 'known', value: 2 });
    expect(await good()).toBe(1);
    expect(events.map(({ type, reason, note }) => [type, reason, note])).toEqual([
      ['Warning', 'DocumentRefused', `${KEY}: is no number; write one; the last good one stays in force`],
      ['Normal', 'DocumentAccepted', `${KEY} fits again and is in force`],
    ]);
  });

  it('that never fitted is not taken for none', () => {
    const { configMaps, document, write } = setUp();
    configMaps.replace([]);
    write({ [KEY]: 'bad' });
    expect(document.current()).toEqual({ state: 'unknown', why: `${KEY} in ConfigMap settings cannot be read` });
  });

  it('is none when it is empty, or gone with its ConfigMap, which the log says', () => {
    const { configMaps, document, write, lines, events } = setUp();
    configMaps.replace([]);
    for (const end of [(): void => write({ [KEY]: '' }), (): void => configMaps.replace([])]) {
      write({ [KEY]: '1' });
      expect(document.current()).toEqual({ state: 'known', value: 1 });
      end();
      expect(document.current()).toEqual({ state: 'absent' });
    }
    expect(lines.slice(1)).toEqual([
      'document is empty: it asks nothing of apps',
      'document in force',
      'document removed: it asks nothing of apps any more',
    ]);
    expect(events.map(({ type, reason, note, regarding }) => [type, reason, note, regarding.metadata.name])).toEqual([
      ['Warning', 'DocumentEmpty', `${KEY} is empty: it asks nothing of apps any more`, 'settings'],
      ['Warning', 'DocumentRemoved', `${KEY} was removed: it asks nothing of apps any more`, 'settings'],
    ]);
  });

  it('stays in force when its key is taken out or renamed', async () => {
    const { configMaps, document, events, write, good } = setUp();
    configMaps.replace([]);
    write({ [KEY]: '1' });
    write({ 'number.yaml': '2' });
    write({ 'number.yaml': '3' });
    write();
    expect(document.current()).toEqual({ state: 'known', value: 1 });
    expect(await good()).toBe(0);
    write({ [KEY]: '1' });
    expect(await good()).toBe(1);
    expect(events.map(({ reason, note }) => [reason, note])).toEqual([
      [
        'DocumentRefused',
        `${KEY}: the ConfigMap has no such key; put the document under it, or delete the ConfigMap; the last good one stays in force`,
      ],
      ['DocumentAccepted', `${KEY} fits again and is in force`],
    ]);
  });

  it('is not taken for none where its ConfigMap never had its key', () => {
    const { configMaps, document, write } = setUp();
    configMaps.replace([]);
    write();
    expect(document.current()).toEqual({ state: 'unknown', why: `${KEY} in ConfigMap settings cannot be read` });
    configMaps.replace([]);
    expect(document.current()).toEqual({ state: 'absent' });
  });

  it('is refused once for one text, however often its ConfigMap is written', () => {
    const { configMaps, events, write } = setUp();
    configMaps.replace([]);
    write({ [KEY]: 'bad' });
    write({ [KEY]: 'bad', other: 'x' });
    expect(events).toHaveLength(1);
  });

  it('stays as it is after its end', () => {
    const { configMaps, document, write } = setUp();
    configMaps.replace([]);
    document.stop();
    write({ [KEY]: '1' });
    expect(document.current()).toEqual({ state: 'absent' });
  });
});
