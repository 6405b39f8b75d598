// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { createKubeClient } from './client.ts';
import type { KubeClient } from './client.ts';
import { errorFromAnswer } from './errors.ts';
import { readLines } from './lines.ts';
import { PooledKubeConfig } from './pooled-config.ts';
import { CONFIG_MAPS, INFERENCE_APPS, PLACEMENTS, apiVersionOf, resourceName, resourcePath } from './resource.ts';
import { createTransport } from './transport.ts';
import { keyOf, refOf } from './types.ts';
import type { KubeObject, WatchFrame } from './types.ts';

async function* chunks(...parts: (string | Uint8Array)[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield Buffer.from(part as string);
}

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of source) all.push(item);
  return all;
}

describe('paths', () => {
  test.for([
    ['a collection', resourcePath(CONFIG_MAPS, { namespace: 'ns' }), '/api/v1/namespaces/ns/configmaps'],
    ['all namespaces', resourcePath(CONFIG_MAPS), '/api/v1/configmaps'],
    [
      'an object of a group, with subresource',
      resourcePath(INFERENCE_APPS, { namespace: 'ns', name: 'a', subresource: 'status' }),
      '/apis/penstock.dev/v1alpha1/namespaces/ns/inferenceapps/a/status',
    ],
    [
      'a cluster-scoped object, whatever namespace is said',
      resourcePath(PLACEMENTS, { namespace: 'ns', name: 'p' }),
      '/apis/penstock.dev/v1alpha1/placements/p',
    ],
    [
      'a name that would leave its segment',
      resourcePath(CONFIG_MAPS, { namespace: 'ns', name: '../../secrets?x#y' }),
      '/api/v1/namespaces/ns/configmaps/..%2F..%2Fsecrets%3Fx%23y',
    ],
  ] as const)('%s', ([, path, wanted]) => {
    expect(path).toBe(wanted);
  });

  test.for([
    ['no namespace', { name: 'a' }],
    ['an empty namespace', { namespace: '', name: 'a' }],
    ['an empty name', { namespace: 'ns', name: '' }],
    ['the parent', { namespace: 'ns', name: '..' }],
    ['itself', { namespace: '.', name: 'a' }],
  ] as const)('%s is refused', ([, parts]) => {
    expect(() => resourcePath(CONFIG_MAPS, parts)).toThrow(TypeError);
  });

  test('names of resources and keys of objects', () => {
    expect([resourceName(CONFIG_MAPS), resourceName(PLACEMENTS)]).toEqual(['configmaps', 'placements.penstock.dev']);
    expect([apiVersionOf(CONFIG_MAPS), apiVersionOf(PLACEMENTS)]).toEqual(['v1', 'penstock.dev/v1alpha1']);
    for (const key of ['ns/name', 'name']) expect(keyOf(refOf(key))).toBe(key);
  });
});

describe('lines of a stream', () => {
  test.for([
    [
      'cut anywhere, also inside a character',
      ['{"a":"', Buffer.from('é').subarray(0, 1), Buffer.from('é').subarray(1), '"}\n{"b"', ':1}\n'],
      ['{"a":"é"}', '{"b":1}'],
    ],
    ['many in one chunk, empty ones left out', ['a\n\nb\nc\n'], ['a', 'b', 'c']],
    ['a last one that was cut off is dropped', ['a\n{"half'], ['a']],
    ['nothing', [], []],
  ] as const)('%s', async ([, parts, wanted]) => {
    expect(await collect(readLines(chunks(...parts)))).toEqual(wanted);
  });

  test('one without end is refused instead of filling the heap', async () => {
    await expect(collect(readLines(chunks('x'.repeat(60), 'x'.repeat(60)), 100))).rejects.toThrow('longer than 100');
  });
});

describe('watch frames', () => {
  const clientOver = (...parts: string[]): KubeClient =>
    createKubeClient({ call: async () => undefined, stream: async () => chunks(...parts), close: async () => {} });
  const watch = (...parts: string[]): Promise<WatchFrame<KubeObject>[]> => {
    const options = { resourceVersion: '1', timeoutSeconds: 300, signal: new AbortController().signal };
    return collect(clientOver(...parts).watch(CONFIG_MAPS, options));
  };
  const bookmark = '{"type":"BOOKMARK","object":{"kind":"ConfigMap","metadata":{"resourceVersion":"7"}}}\n';

  test('are given as they are', async () => {
    const [frame] = await watch(bookmark);
    expect(frame).toEqual({ type: 'BOOKMARK', object: { kind: 'ConfigMap', metadata: { resourceVersion: '7' } } });
  });

  test.for([
    [
      'an expired one',
      '{"type":"ERROR","object":{"kind":"Status","metadata":{},"code":410,"reason":"Expired","message":"too old"}}\n',
      410,
      'Expired',
    ],
    ['an internal error without a code', '{"type":"ERROR","object":{"kind":"Status","metadata":{}}}\n', 500, 'Http500'],
    ['no JSON', 'oops\n', 0, 'MalformedAnswer'],
    ['no object', '{"type":"ADDED"}\n', 0, 'MalformedAnswer'],
    ['an object without metadata', '{"type":"ADDED","object":{}}\n', 0, 'MalformedAnswer'],
  ] as const)('%s is thrown', async ([, line, status, reason]) => {
    await expect(watch(bookmark, line)).rejects.toMatchObject({ status, reason });
  });
});

describe('errors of answers', () => {
  test.for([
    [
      'a Status',
      '{"kind":"Status","message":"no such thing","reason":"NotFound","code":404}',
      404,
      undefined,
      { status: 404, reason: 'NotFound' },
    ],
    [
      'a Status with its own wait',
      '{"reason":"ServerTimeout","code":500,"details":{"retryAfterSeconds":2}}',
      500,
      undefined,
      { reason: 'ServerTimeout', retryAfterMs: 2000 },
    ],
    ['a proxy’s page', '<html>bad gateway</html>', 502, undefined, { status: 502, reason: 'Http502' }],
    ['a header that asks to wait', '{}', 429, '3', { status: 429, retryAfterMs: 3000 }],
    ['a header that is a date', '{}', 429, 'Wed, 21 Oct 2026 07:28:00 GMT', { retryAfterMs: undefined }],
    ['nothing at all', '', 503, undefined, { status: 503, reason: 'Http503' }],
  ] as const)('%s', ([, body, status, retryAfter, wanted]) => {
    expect(errorFromAnswer('GET /x', status, body, retryAfter)).toMatchObject(wanted);
  });
});

describe('a call', () => {
  test('ends at its deadline also while credentials are being fetched', async () => {
    const stuck = {
      getCurrentCluster: () => ({ server: 'https://127.0.0.1:1' }),
      security: () => new Promise(() => {}),
    };
    const transport = createTransport(stuck as unknown as PooledKubeConfig);
    const call = transport.call({ method: 'GET', path: '/readyz', deadlineMs: 10 });
    await expect(call).rejects.toMatchObject({ status: 0, reason: 'DeadlineExceeded' });
  });
});

describe('a kubeconfig from a Secret', () => {
  const text = (user: string, cluster = 'server: "https://127.0.0.1:1"'): string =>
    `{clusters: [{name: c, cluster: {${cluster}}}], users: [{name: u, user: {${user}}}], contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}`;

  test('with its data embedded is taken', async () => {
    const config = PooledKubeConfig.fromText(text('token: abc'));
    expect((await config.security()).headers).toEqual({ Authorization: 'Bearer abc' });
    await config.close();
  });

  test.for([
    ['a program to run', text('exec: {command: /bin/sh, apiVersion: client.authentication.k8s.io/v1}')],
    ['a key in a file', text('client-certificate: /etc/passwd, client-key: /etc/passwd')],
    ['a token in a file', text('auth-provider: {name: tokenFile, config: {tokenFile: /etc/passwd}}')],
    ['an authority in a file', text('token: abc', 'server: "https://127.0.0.1:1", certificate-authority: /etc/passwd')],
  ] as const)('that names %s is refused', ([, kubeconfig]) => {
    expect(() => PooledKubeConfig.fromText(kubeconfig)).toThrow('embed the data');
  });
});
