// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { OBJECTS } from '#crds/names.ts';
import { CONFIG_MAPS, EVENTS, SECRETS } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { startApiServer } from '../servers/apiserver.ts';
import type { ApiServer } from '../servers/apiserver.ts';
import { until } from '../until.ts';
import { aFixture } from './kube-fixture.ts';
import type { Fixture } from './kube-fixture.ts';
import {
  CONFIGURATIONS,
  SECRET_REF,
  contentOf,
  installAccount,
  installWebhooks,
  isSettled,
  mintedSecret,
  readBundles,
  readSecret,
  startReplica,
} from './webhook-certs.harness.ts';
import type { Configuration, Replica, Secret } from './webhook-certs.harness.ts';

const SECOND = 1000;
/** Short enough to see changes, long enough for two API calls. */
const QUICK = { propagationMs: 300, checkMs: 2 * SECOND };

let api: ApiServer;
let admin: Fixture;
let folder: string;
let kubeconfig: string;
const replicas: Replica[] = [];
let made = 0;
const streams: (() => unknown)[] = [];
const children: ChildProcess[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-certs-'));
  api = await startApiServer({ crds: false });
  admin = aFixture(api.kubeconfig);
  kubeconfig = await installAccount(api, folder);
  await api.kube('create', 'namespace', 'watched');
  await api.kube('label', 'namespace', 'watched', 'certs=watched');
});
beforeEach(async () => {
  await api.kube('delete', 'secret', SECRET_REF.name, '-n', SECRET_REF.namespace, '--ignore-not-found');
  for (const { resource, name } of CONFIGURATIONS)
    await api.kube('delete', resource.plural, name, '--ignore-not-found');
});
afterEach(async () => {
  for (const stop of streams.splice(0)) stop();
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await Promise.all(replicas.splice(0).map((replica) => replica.stop()));
});
afterAll(async () => {
  await admin.client.close();
  await api.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Two replicas that start at the same moment, and the configurations that send to them. */
async function start(times: Parameters<typeof startReplica>[2] = QUICK): Promise<readonly [Replica, Replica]> {
  const pair = await Promise.all([startReplica(kubeconfig, 'a', times), startReplica(kubeconfig, 'b', times)]);
  replicas.push(...pair);
  await installWebhooks(admin, [pair[0].port, pair[1].port]);
  return pair;
}

const ready = (): Promise<unknown> =>
  until(
    async () => replicas.every(({ certificate }) => certificate.notReady() === undefined) && (await isSettled(admin)),
    {
      what: 'replicas to be ready and the bundles to be written',
    },
  );

/** An object that both replicas have to allow. */
async function create(): Promise<string> {
  const name = `c-${made++}`;
  return (await admin.client.create(CONFIG_MAPS, { metadata: { namespace: 'watched', name } })).metadata.name;
}

/** Creates one after the other until told to stop; answers how many worked and the errors of the others. */
function creating(): { worked(): number; stop(): Promise<{ worked: number; errors: string[] }> } {
  const stopping = new AbortController();
  let worked = 0;
  const run = async (): Promise<{ worked: number; errors: string[] }> => {
    const errors: string[] = [];
    while (!stopping.signal.aborted) {
      await create().then(
        () => (worked += 1),
        (err: unknown) => errors.push(String(err)),
      );
    }
    return { worked, errors };
  };
  const running = run();
  const stop = (): typeof running => {
    stopping.abort();
    return running;
  };
  streams.push(stop);
  return { worked: () => worked, stop };
}

const served = (): string[] => replicas.map(({ certificate }) => certificate.current()?.cert ?? '');
const stored = async (): Promise<string> =>
  Buffer.from((await readSecret(admin)).data?.['tls.crt'] ?? '', 'base64').toString();

/** Both replicas serve what the Secret says, and it is not `before`. */
const changedOver = (before: string): Promise<unknown> =>
  until(
    async () => (await stored()) !== before && served().every((cert) => cert !== before) && (await isSettled(admin)),
    {
      what: 'both replicas to serve another certificate',
    },
  );

async function put(change: (data: Record<string, string>) => Record<string, string>): Promise<void> {
  const secret = await readSecret(admin);
  await admin.client.replace<Secret>(SECRETS, { ...secret, data: change(secret.data ?? {}) });
}

const notes = async (reason: string): Promise<string[]> => {
  const { items } = await admin.client.list<KubeObject & { reason?: string; note?: string }>(EVENTS);
  return items.filter((event) => event.reason === reason).map(({ note = '' }) => note);
};

describe('the first start', () => {
  it('two replicas that start at once agree on one CA and one certificate, and the API server reaches both', async () => {
    await start();
    await ready();
    await create();
    const { leaf, authorities } = contentOf(await readSecret(admin));
    expect(authorities).toHaveLength(1);
    expect(leaf.checkHost('penstock-webhook.penstock-system.svc')).toBeDefined();
    expect(new Set([...served(), await stored()]).size).toBe(1);
    const years = (leaf.validToDate.getTime() - Date.now()) / (365 * 24 * 3600 * SECOND);
    expect(years).toBeCloseTo(1, 2);
    expect((authorities[0]!.validToDate.getTime() - Date.now()) / (365 * 24 * 3600 * SECOND)).toBeCloseTo(10, 2);
  });

  it('is not ready before the caBundles trust it, and says so', async () => {
    const replica = await startReplica(kubeconfig, 'a', QUICK);
    replicas.push(replica);
    expect(replica.certificate.notReady()).toContain('no serving certificate');
    await installWebhooks(admin, [replica.port, replica.port]);
    await ready();
    expect(await create()).toMatch(/^c-/);
  });

  it('ten times over, from nothing: always one certificate', async () => {
    const seen = new Set<string>();
    for (let round = 0; round < 10; round++) {
      const pair = await Promise.all([startReplica(kubeconfig, 'a', QUICK), startReplica(kubeconfig, 'b', QUICK)]);
      await until(() => pair.every(({ certificate }) => certificate.current() !== undefined), { what: 'certificates' });
      await until(
        async () => new Set([...pair.map(({ certificate }) => certificate.current()?.cert), await stored()]).size === 1,
        {
          what: 'one certificate',
        },
      );
      seen.add(await stored());
      await Promise.all(pair.map((replica) => replica.stop()));
      await admin.client.delete(SECRETS, SECRET_REF);
    }
    expect(seen.size).toBe(10);
  });

  it('a replica that starts later takes what there is', async () => {
    await start();
    await ready();
    const before = await stored();
    const third = await startReplica(kubeconfig, 'c', QUICK);
    replicas.push(third);
    await ready();
    expect(third.certificate.current()?.cert).toBe(before);
    expect(await stored()).toBe(before);
  });
});

describe('no request is lost', () => {
  it('while certificates and CAs are renewed again and again', async () => {
    // A new leaf every 1.5 s; a CA lives for 12 s and signs leaves of 10 s, so every second leaf has another CA.
    const times = { ...QUICK, authorityMs: 12 * SECOND, leafMs: 10 * SECOND, lookaheadMs: 8.5 * SECOND, checkMs: 250 };
    await start(times);
    await ready();
    const stream = creating();
    const leaves = new Set<string>();
    const authorities = new Set<string>();
    await until(
      async () => {
        const content = contentOf(await readSecret(admin));
        leaves.add(content.leaf.serialNumber);
        for (const authority of content.authorities) authorities.add(authority.fingerprint256);
        const often = replicas.every((replica) => replica.served.size >= 6) && authorities.size >= 4;
        return often && stream.worked() > 50;
      },
      { what: 'six certificates of four CAs', timeoutMs: 60 * SECOND },
    );
    expect(await stream.stop()).toMatchObject({ errors: [] });
    // Those that have ended are trusted no more.
    const bundles = await readBundles(admin);
    expect(bundles[0]!.match(/BEGIN CERTIFICATE/g)!.length).toBeLessThan(authorities.size + 1);
  });

  it('while the Secret is deleted', async () => {
    await start();
    await ready();
    const before = await stored();
    const stream = creating();
    await admin.client.delete(SECRETS, SECRET_REF);
    await changedOver(before);
    expect(await stream.stop()).toMatchObject({ errors: [] });
    expect(contentOf(await readSecret(admin)).authorities).toHaveLength(2);
  });

  it('because a replica serves on with what it has until each API server has had time to read the new bundle', async () => {
    await start({ ...QUICK, propagationMs: 2 * SECOND });
    await ready();
    const before = await stored();
    await admin.client.delete(SECRETS, SECRET_REF);
    await until(async () => (await isSettled(admin)) && (await stored()) !== before, {
      what: 'the new CA to be trusted',
    });
    const trustedAt = performance.now();
    await changedOver(before);
    // Less what it took to see that the bundle was there.
    expect(performance.now() - trustedAt).toBeGreaterThan(SECOND);
  });

  const damages: Record<string, (data: Record<string, string>) => Record<string, string>> = {
    'every key is rubbish': (data) => Object.fromEntries(Object.keys(data).map((key) => [key, 'cnViYmlzaA=='])),
    'everything is gone': () => ({}),
    'the key of the CA is gone': ({ 'ca.key': _key, ...rest }) => rest,
    'the private key is of another certificate': (data) => ({ ...data, 'tls.key': data['ca.key'] ?? '' }),
    'the CA is gone': (data) => ({ ...data, 'ca.crt': '' }),
    'a certificate is no certificate': (data) => ({ ...data, 'tls.crt': data['tls.key'] ?? '' }),
  };
  it.each(Object.entries(damages))('while the Secret is spoilt: %s', async (_name, damage) => {
    await start();
    await ready();
    const before = await stored();
    const stream = creating();
    await put(damage);
    await changedOver(before);
    const { errors, worked } = await stream.stop();
    expect(errors).toEqual([]);
    expect(worked).toBeGreaterThan(0);
    expect(await create()).toMatch(/^c-/);
  });

  it('tells of damage in an Event, without a word of what was in it', async () => {
    await start();
    await ready();
    await put((data) => ({ ...data, 'tls.key': Buffer.from('my dear secret').toString('base64') }));
    const told = await until(
      async () => (await notes('CertificateDamaged')).find((note) => note.includes('tls.key is no private key')),
      {
        what: 'a Warning Event',
      },
    );
    expect(told).toMatch(/^Made a new certificate: /);
    expect(told).not.toContain('dear');
  });
});

describe('kill -9 between the writes', () => {
  const program = fileURLToPath(new URL('webhook-certs.process.ts', import.meta.url));
  /** Runs the replica that dies at `point`, until it has. */
  const die = async (point: string): Promise<void> => {
    const args = [program, kubeconfig, SECRET_REF.namespace, 'penstock-webhook', point];
    const child = spawn(process.execPath, args, { stdio: 'inherit' });
    children.push(child);
    const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
    expect(signal).toBe('SIGKILL');
  };

  it.each(['empty', 'secret', 'bundle'])('on the first start, after the write of: %s', async (point) => {
    // Where nobody listens: only whether the bundles get there is of interest until the others have started.
    await installWebhooks(admin, [1, 1]);
    await die(point);
    await start();
    await ready();
    expect(await create()).toMatch(/^c-/);
  });

  it.each(['secret', 'bundle'])(
    'while another replica serves, after the write of: %s; no request is lost',
    async (point) => {
      await start();
      await ready();
      const before = await stored();
      const stream = creating();
      await die(point);
      await changedOver(before);
      const { errors, worked } = await stream.stop();
      expect(errors).toEqual([]);
      expect(worked).toBeGreaterThan(0);
      await create();
    },
  );
});

describe('the caBundles', () => {
  it('are written again when somebody wipes them', async () => {
    await start();
    await ready();
    for (const { resource, name } of CONFIGURATIONS) {
      const wipe = [0, 1].map((index) => ({ op: 'remove', path: `/webhooks/${index}/clientConfig/caBundle` }));
      await admin.client.patch(resource, { name }, wipe, { type: 'json' });
    }
    await until(() => isSettled(admin), { what: 'the bundles to be back' });
    expect(await create()).toMatch(/^c-/);
  });

  it('are written when a configuration is deleted and applied anew', async () => {
    const [a, b] = await start();
    await ready();
    for (const { resource, name } of CONFIGURATIONS) await admin.client.delete(resource, { name });
    await installWebhooks(admin, [a.port, b.port]);
    await until(() => isSettled(admin), { what: 'the bundles to be there' });
    // The API server reads what was written a moment later; this is no renewal, so nothing was promised for that moment.
    const reached = await until(() => create().catch(() => ''), { what: 'the API server to reach both' });
    expect(reached).toMatch(/^c-/);
  });

  it("of anybody else's configuration stay as they are", async () => {
    const foreign = { name: 'foreign.example.com', admissionReviewVersions: ['v1'], sideEffects: 'None' };
    const webhooks = [{ ...foreign, clientConfig: { url: 'https://127.0.0.1:1/' }, rules: [] }];
    const { resource } = CONFIGURATIONS[0];
    await admin.client.create(resource, { metadata: { name: 'somebody-else' }, webhooks } as KubeObject);
    await start();
    await ready();
    const left = await admin.client.get<Configuration>(resource, { name: 'somebody-else' });
    expect(left.webhooks[0]?.clientConfig.caBundle).toBeUndefined();
    await admin.client.delete(resource, { name: 'somebody-else' });
  });

  it('follow the Secret: a CA taken out of it by hand is distrusted at once', async () => {
    await start();
    await ready();
    const before = await stored();
    await admin.client.delete(SECRETS, SECRET_REF);
    await changedOver(before);
    const [first] = contentOf(await readSecret(admin)).authorities;
    await put((data) => ({ ...data, 'ca.crt': Buffer.from(first!.toString()).toString('base64') }));
    await until(async () => (await readBundles(admin)).every((bundle) => bundle === first!.toString()), {
      what: 'the old CA to be gone from the bundles',
    });
    expect(await create()).toMatch(/^c-/);
  });
});

describe('with certificates of somebody else (cert-manager)', () => {
  it('serves what the Secret holds, takes a new one over, and writes nothing', async () => {
    const first = await mintedSecret();
    await admin.client.create<Secret>(SECRETS, { metadata: SECRET_REF, type: 'kubernetes.io/tls', data: first });
    const replica = await startReplica(kubeconfig, 'a', QUICK, 'external');
    replicas.push(replica);
    await installWebhooks(admin, [replica.port, replica.port]);
    await until(() => replica.certificate.notReady() === undefined, { what: 'the replica to be ready' });
    const second = await mintedSecret();
    await put(() => second);
    const pem = (data: Record<string, string>): string => Buffer.from(data['tls.crt'] ?? '', 'base64').toString();
    await until(() => replica.certificate.current()?.cert === pem(second), {
      what: 'the new certificate to be served',
    });
    expect(await readBundles(admin)).toEqual(['', '', '', '']);
    expect((await readSecret(admin)).data).toEqual(second);
  });

  it('is not ready while there is none', async () => {
    const replica = await startReplica(kubeconfig, 'a', QUICK, 'external');
    replicas.push(replica);
    const why = (): string => replica.certificate.notReady() ?? '';
    await until(() => why().includes('holds'), { what: 'the reason' });
    expect(why()).toContain(`Secret ${OBJECTS.webhookSecret} holds no certificate yet`);
  });
});
