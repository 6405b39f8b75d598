// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { generateIssuerKey, publicJwks } from '#base/issuer.ts';
import { ISSUER_CONFIGMAP, ISSUER_KEY } from '#base/wire/claims.ts';
import { API_VERSION } from '#crds/names.ts';
import { revisionOf } from '#crds/revision.ts';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { watchKubeApps } from '#gateway/apps/kube-source.ts';
import type { KubeAppSource } from '#gateway/apps/kube-source.ts';
import { watchKeysConfigMap } from '#gateway/auth/operator-keys.ts';
import { CONFIG_MAPS, INFERENCE_APPS } from '#kube/resource.ts';
import { until } from '#test/until.ts';
import { aConfigMap, aFixture, aNamespace } from './kube-fixture.ts';
import type { Fixture } from './kube-fixture.ts';

let kube: Fixture;
let namespace: string;
let apps: KubeAppSource;

beforeAll(async () => {
  const { kubeconfig } = inject('servers').kube ?? { kubeconfig: '' };
  kube = aFixture(kubeconfig);
  namespace = await aNamespace(kube.client, 'gateway');
  apps = watchKubeApps(kube);
  await apps.ready(AbortSignal.timeout(30_000));
});

afterAll(async () => {
  await apps.close();
  await kube.client.close();
});

function manifest(name: string, spec: object = {}): InferenceApp {
  const worker = { archetype: 'Handler', handler: 'echo.ts' };
  return {
    apiVersion: API_VERSION,
    kind: 'InferenceApp',
    metadata: { name, namespace },
    spec: { worker, ...spec },
  } as InferenceApp;
}

test('an app is served with its uid, revision and defaults as soon as the API server has it, until it is gone', async () => {
  expect(apps.synced()).toBe(true);
  const created = await kube.client.create(INFERENCE_APPS, manifest('echo'));
  const served = await until(() => apps.get(namespace, 'echo'), { what: 'the app' });
  expect(served).toMatchObject({ uid: created.metadata.uid, revision: revisionOf(created), deleting: false });
  expect(served.spec).toMatchObject({
    desiredState: 'Ready',
    request: { maxBytes: 8_388_608 },
    scaling: { maxUnits: 1 },
  });
  expect(apps.byUid(served.uid)).toBe(served);

  let changes = 0;
  const stop = apps.onChange(() => void changes++);
  await kube.client.patch(
    INFERENCE_APPS,
    { namespace, name: 'echo' },
    { spec: { desiredState: 'Draining' } },
    { type: 'merge' },
  );
  await until(() => apps.get(namespace, 'echo')?.spec.desiredState === 'Draining', { what: 'the new state' });
  expect(changes).toBeGreaterThan(0);
  stop();

  await kube.client.delete(INFERENCE_APPS, { namespace, name: 'echo' });
  await until(() => apps.get(namespace, 'echo') === undefined, { what: 'the end of the app' });
  expect(apps.byUid(served.uid)).toBeUndefined();
});

test('a status that is written wakes nobody', async () => {
  await kube.client.create(INFERENCE_APPS, manifest('quiet'));
  await until(() => apps.get(namespace, 'quiet'), { what: 'the app' });
  const before = apps.get(namespace, 'quiet');
  const changed: string[] = [];
  const stop = apps.onChange(() => void changed.push('changed'));
  const merge = { type: 'merge', subresource: 'status' } as const;
  await kube.client.patch(INFERENCE_APPS, { namespace, name: 'quiet' }, { status: { phase: 'Ready' } }, merge);
  // The app made after it has arrived, so the status has too.
  await kube.client.create(INFERENCE_APPS, manifest('marker'));
  await until(() => apps.get(namespace, 'marker'), { what: 'the app that was made later' });
  expect(apps.get(namespace, 'quiet')).toBe(before);
  expect(changed).toEqual(['changed']);
  stop();
});

test('an app with a finalizer is served as deleting until it is released', async () => {
  const held = manifest('held');
  await kube.client.create(INFERENCE_APPS, {
    ...held,
    metadata: { ...held.metadata, finalizers: ['penstock.dev/test'] },
  });
  await until(() => apps.get(namespace, 'held'), { what: 'the app' });
  await kube.client.delete(INFERENCE_APPS, { namespace, name: 'held' });
  await until(() => apps.get(namespace, 'held')?.deleting, { what: 'the deletion' });
  await kube.client.patch(
    INFERENCE_APPS,
    { namespace, name: 'held' },
    { metadata: { finalizers: null } },
    { type: 'merge' },
  );
  await until(() => apps.get(namespace, 'held') === undefined, { what: 'the end of the app' });
  expect(apps.list().some(({ name }) => name === 'held')).toBe(false);
});

test('the operator’s keys follow their ConfigMap, and a broken document leaves the last good ones', async () => {
  const keys = watchKeysConfigMap(kube, namespace);
  try {
    expect(keys.jwks().keys).toEqual([]);
    const first = publicJwks([await generateIssuerKey()]);
    await kube.client.create(
      CONFIG_MAPS,
      aConfigMap(namespace, ISSUER_CONFIGMAP, { [ISSUER_KEY]: JSON.stringify(first) }),
    );
    await until(() => keys.jwks().keys[0]?.kid === first.keys[0]?.kid, { what: 'the first key' });
    const put = async (text: string): Promise<unknown> =>
      await kube.client.patch(
        CONFIG_MAPS,
        { namespace, name: ISSUER_CONFIGMAP },
        { data: { [ISSUER_KEY]: text } },
        { type: 'merge' },
      );
    await put('{"keys": "none"}');
    const second = publicJwks([await generateIssuerKey()]);
    const both = { keys: [...second.keys, ...first.keys] };
    await put(JSON.stringify(both));
    await until(() => keys.jwks().keys.length === 2, { what: 'both keys while they rotate' });
    await put('{"keys": "none"}');
    await kube.client.delete(CONFIG_MAPS, { namespace, name: ISSUER_CONFIGMAP });
    expect(keys.jwks()).toEqual(both);
  } finally {
    await keys.close();
  }
});
