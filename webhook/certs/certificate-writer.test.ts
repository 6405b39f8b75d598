// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import type { LogFields, Logger } from '#base/logger.ts';
import { silentLogger } from '#base/logger.ts';
import type { EventInput } from '#kube/events.ts';
import { KubeError } from '#kube/errors.ts';
import { createCertificateWriter } from './certificate-writer.ts';
import type { Work } from './certificate-writer.ts';
import type { CertificateSecret } from './secret.ts';
import { certificateTimes } from './times.ts';
import { readTrust } from './trust.ts';

const REF = { namespace: 'penstock-system', name: 'penstock-webhook-tls' };
const NOW = Date.UTC(2026, 10, 21);
const times = certificateTimes();

interface Bench {
  readonly writes: Record<string, string>[];
  readonly events: EventInput[];
  readonly logged: LogFields[];
  readonly bringUp: (
    before: CertificateSecret | undefined,
    now?: number,
  ) => ReturnType<ReturnType<typeof createCertificateWriter>['bringUp']>;
}

function bench(refuse?: Error): Bench {
  const writes: Record<string, string>[] = [];
  const events: EventInput[] = [];
  const logged: LogFields[] = [];
  const logger: Logger = { ...silentLogger, info: (fields) => void logged.push(fields) };
  const writer = createCertificateWriter({
    store: {
      ref: REF,
      read: () => Promise.resolve(undefined),
      write: (_before, data) => {
        if (refuse) return Promise.reject(refuse);
        writes.push(data);
        return Promise.resolve({ metadata: { ...REF }, data });
      },
    },
    namespace: REF.namespace,
    service: 'penstock-webhook',
    times,
    clock: createFakeClock(NOW),
    logger,
    events: { record: (event) => void events.push(event), stop: () => Promise.resolve() },
    metrics: { wrote: () => {}, serves: () => {} },
  });
  const bringUp: Bench['bringUp'] = (before, now = NOW) => {
    const host = 'penstock-webhook.penstock-system.svc';
    const situation = { stored: readTrust(before?.data), served: undefined, configured: [], host, now, times };
    const work: Work = { before, situation, signal: new AbortController().signal };
    return writer.bringUp(work);
  };
  return { writes, events, logged, bringUp };
}

async function fresh(): Promise<CertificateSecret> {
  const { writes, bringUp } = bench();
  await bringUp(undefined);
  return { metadata: { ...REF }, data: writes[0] ?? {} };
}

describe('what is written and told', () => {
  it('nothing, where nothing is to be done', async () => {
    const { writes, events, bringUp } = bench();
    const secret = await fresh();
    expect(await bringUp(secret)).toEqual(readTrust(secret.data));
    expect([writes, events]).toEqual([[], []]);
  });

  it('a renewal is a Normal Event, and what was written is good for its whole life', async () => {
    const { writes, events, bringUp } = bench();
    const secret = await fresh();
    const now = NOW + times.leafMs - 1000;
    const trust = await bringUp(secret, now);
    expect(events).toMatchObject([{ type: 'Normal', reason: 'CertificateRenewed', regarding: { metadata: REF } }]);
    expect(writes).toHaveLength(1);
    expect(trust.damage).toEqual([]);
    expect(trust.leaf?.certificate.validToDate.getTime()).toBe(now + times.leafMs);
    expect(trust.leaf?.authority?.fingerprint256).toBe(trust.signer?.certificate.fingerprint256);
  });

  it('damage is a Warning Event; no key is in it, nor in the log', async () => {
    const { events, logged, bringUp } = bench();
    const secret = await fresh();
    const key = secret.data?.['tls.key'] ?? '';
    await bringUp({ ...secret, data: { ...secret.data, 'ca.key': key } });
    expect(events).toMatchObject([{ type: 'Warning', reason: 'CertificateDamaged' }]);
    const pem = Buffer.from(key, 'base64').toString().split('\n')[1] ?? '';
    expect(pem.length).toBeGreaterThan(30);
    expect(JSON.stringify([events, logged])).not.toContain(pem);
  });

  it('a Secret that cert-manager keeps is not touched, and somebody is told', async () => {
    const { writes, events, bringUp } = bench();
    const { 'ca.key': _key, ...data } = (await fresh()).data ?? {};
    const metadata = { ...REF, annotations: { 'cert-manager.io/certificate-name': 'penstock-webhook' } };
    const trust = await bringUp({ metadata, data });
    expect(writes).toEqual([]);
    expect(events).toMatchObject([{ type: 'Warning', reason: 'CertificateForeign' }]);
    expect(trust.leaf?.authority).toBeDefined();
  });

  it("another replica's write is an error, and nothing is told", async () => {
    const conflict = new KubeError('changed', { status: 409, reason: 'Conflict' });
    const { events, bringUp } = bench(conflict);
    await expect(bringUp(undefined)).rejects.toBe(conflict);
    expect(events).toEqual([]);
  });
});
