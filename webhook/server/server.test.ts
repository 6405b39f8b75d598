// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import type { ClientHttp2Session } from 'node:http2';
import { afterEach, describe, expect, it } from 'vitest';
import type { LogFields } from '#base/logger.ts';
import { silentLogger } from '#base/logger.ts';
import type { AdmissionRequest, Verdict } from '../admission/types.ts';
import type { Handlers } from './routes.ts';
import { callHttp1, callHttp2, http2Session, podReview, startTestServer } from './testing.ts';
import type { TestAnswer, TestServer } from './testing.ts';

const ended: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ended.splice(0).toReversed()) await end();
});

interface Started extends TestServer {
  readonly session: ClientHttp2Session;
  readonly lines: readonly (readonly [message: string, fields: LogFields])[];
  readonly review: (path: string, change?: Readonly<Record<string, unknown>>) => Promise<TestAnswer>;
  readonly count: (metric: string, labels?: Readonly<Record<string, string | number>>) => Promise<number>;
}

async function start(handlers: Partial<Handlers> = {}): Promise<Started> {
  const lines: (readonly [string, LogFields])[] = [];
  const note = (fields: LogFields, message: string): void => void lines.push([message, fields]);
  const server = await startTestServer(handlers, { ...silentLogger, info: note, warn: note, error: note });
  const session = http2Session(server);
  ended.push(
    () => server.stop(),
    () => session.close(),
  );
  return {
    ...server,
    session,
    lines,
    review: (path, change = {}) => callHttp2(session, { path, body: JSON.stringify(podReview(change)) }),
    count: async (metric, labels = {}) => {
      const values = (await server.registry.getSingleMetric(metric)?.get())?.values ?? [];
      const matching = values.filter((value) =>
        Object.entries(labels).every(([name, wanted]) => (value.labels as Record<string, unknown>)[name] === wanted),
      );
      return matching.reduce((sum, { value }) => sum + value, 0);
    },
  };
}

const app = { group: 'penstock.dev', version: 'v1alpha1' };
const anApp = {
  kind: { ...app, kind: 'InferenceApp' },
  resource: { ...app, resource: 'inferenceapps' },
  object: { metadata: { name: 'a' } },
};
const responseOf = ({ json }: TestAnswer): Record<string, unknown> =>
  (json as { response: Record<string, unknown> }).response;

describe('a verdict', () => {
  it('reaches the API server as a patch in base64, with its warnings', async () => {
    const patch = [{ op: 'add', path: '/metadata/labels', value: { städte: 'köln' } }] as const;
    const { review } = await start({ mutatePods: () => ({ patch, warnings: ['one', 'two'] }) });
    const response = responseOf(await review('/mutate/pods?timeout=3s'));
    expect(response).toMatchObject({ uid: 'c0ffee', allowed: true, patchType: 'JSONPatch', warnings: ['one', 'two'] });
    expect(JSON.parse(Buffer.from(String(response['patch']), 'base64').toString())).toEqual(patch);
  });

  it('without anything to change has neither patch nor warnings', async () => {
    const { review } = await start({ mutatePods: () => ({ patch: [], warnings: [] }) });
    expect(responseOf(await review('/mutate/pods'))).toEqual({ uid: 'c0ffee', allowed: true });
  });

  it('may come later', async () => {
    const { review } = await start({ mutatePods: async () => Promise.resolve({ warnings: ['late'] }) });
    expect(responseOf(await review('/mutate/pods'))).toMatchObject({ allowed: true, warnings: ['late'] });
  });

  it('that refuses names the fields, the kind and the object', async () => {
    const causes = [{ field: 'spec.worker.image', message: 'must be set', reason: 'FieldValueRequired' }] as const;
    const { review, lines, count } = await start({
      validateInferenceApps: () => ({ refusal: { code: 422, message: 'spec.worker.image: must be set', causes } }),
    });
    const response = responseOf(await review('/validate/inferenceapps', anApp));
    expect(response).toEqual({
      uid: 'c0ffee',
      allowed: false,
      status: {
        code: 422,
        reason: 'Invalid',
        message: 'spec.worker.image: must be set',
        details: { name: 'a-pod', group: 'penstock.dev', kind: 'InferenceApp', causes },
      },
    });
    expect(lines).toEqual([['refused', expect.objectContaining({ user: 'jane', code: 422 })]]);
    expect(await count('penstock_webhook_requests_total', { webhook: 'inferenceapps', result: 'refused' })).toBe(1);
  });

  it('that refuses without causes has no details, so that kubectl shows the message', async () => {
    const { review } = await start({ validatePlacements: () => ({ refusal: { code: 403, message: 'not yours' } }) });
    const placement = { resource: { ...app, resource: 'placements' } };
    expect(responseOf(await review('/validate/placements', placement))['status']).toEqual({
      code: 403,
      reason: 'Forbidden',
      message: 'not yours',
    });
  });

  it('has its warnings cut to what the API server takes, and cleared of what no header may hold', async () => {
    const warnings = ['a\nb\u0000c', 'ü'.repeat(300), ...Array.from({ length: 40 }, () => 'x'.repeat(200))];
    const { review } = await start({ mutatePods: () => ({ warnings }) });
    const [first, second, ...rest] = responseOf(await review('/mutate/pods'))['warnings'] as string[];
    expect(first).toBe('a b c');
    expect(Buffer.byteLength(String(second))).toBeLessThanOrEqual(256);
    expect(second).toMatch(/ü…$/);
    expect(rest.length).toBe(19);
  });
});

describe('the request that a handler sees', () => {
  it('has what is null or empty on the wire left out', async () => {
    const seen: AdmissionRequest[] = [];
    const { review } = await start({
      mutatePods: (request) => {
        seen.push(request);
        return {};
      },
    });
    await review('/mutate/pods', { name: '', kind: { version: 'v1', kind: 'Pod' }, dryRun: undefined });
    const { object } = podReview()['request'] as AdmissionRequest;
    expect(seen).toEqual([
      {
        uid: 'c0ffee',
        kind: { group: '', version: 'v1', kind: 'Pod' },
        resource: { group: '', version: 'v1', resource: 'pods' },
        namespace: 'team',
        operation: 'CREATE',
        userInfo: { username: 'jane', groups: ['system:authenticated'] },
        object,
        dryRun: false,
      },
    ]);
  });

  it('has nothing of the user that is null, and each key of what else is known of him', async () => {
    const seen: unknown[] = [];
    const { review } = await start({
      mutatePods: ({ userInfo }) => {
        seen.push(userInfo);
        return {};
      },
    });
    await review('/mutate/pods', { userInfo: { username: 'jane', uid: null, groups: null, extra: { scopes: null } } });
    await review('/mutate/pods', { userInfo: { username: null, groups: [], extra: null } });
    await review('/mutate/pods', { userInfo: null });
    expect(seen).toEqual([{ username: 'jane', extra: { scopes: [] } }, { groups: [] }, {}]);
  });

  it('goes to the handler of its subresource', async () => {
    const { review } = await start({ mutateEphemeral: () => ({ warnings: ['ephemeral'] }) });
    const change = { operation: 'UPDATE', subResource: 'ephemeralcontainers', oldObject: {} };
    expect(responseOf(await review('/mutate/pods', change))['warnings']).toEqual(['ephemeral']);
  });
});

describe('trouble of our own', () => {
  const broken = (): never => {
    throw new Error('a secret');
  };
  it('lets a pod pass, with a warning, and counts', async () => {
    const { review, count, lines } = await start({ mutatePods: broken });
    const response = responseOf(await review('/mutate/pods'));
    expect(response).toEqual({
      uid: 'c0ffee',
      allowed: true,
      warnings: [expect.stringMatching(/^penstock: passed without being looked at/)],
    });
    expect(JSON.stringify(response)).not.toContain('secret');
    expect(lines).toEqual([['review failed', expect.objectContaining({ code: 'internal', name: 'a-pod' })]]);
    expect(await count('penstock_webhook_errors_total', { code: 'internal', namespace: 'team' })).toBe(1);
  });

  it('refuses an object of ours with 500', async () => {
    const { review } = await start({ validateInferenceApps: () => Promise.reject(new Error('a secret')) });
    const response = responseOf(await review('/validate/inferenceapps', anApp));
    expect(response).toMatchObject({ allowed: false, status: { code: 500, reason: 'InternalError' } });
  });

  it('includes what a handler cannot go down into any more', async () => {
    const endless = (depth: number): number => 1 + endless(depth + 1);
    const { session } = await start({ mutatePods: () => ({ warnings: [String(endless(0))] }) });
    const answer = await callHttp2(session, { body: JSON.stringify(podReview()) });
    expect(answer).toMatchObject({ status: 200, json: { response: { allowed: true } } });
  });

  it('lets a pod pass and refuses an object of ours when it takes longer than the API server would wait', async () => {
    const signals: AbortSignal[] = [];
    const never = (_request: AdmissionRequest, signal: AbortSignal): Promise<Verdict> => {
      signals.push(signal);
      return new Promise(() => {});
    };
    const { review, count } = await start({ mutatePods: never, validateInferenceApps: never });
    const [pod, refused] = await Promise.all([
      review('/mutate/pods?timeout=400ms'),
      review('/validate/inferenceapps?timeout=400ms', anApp),
    ]);
    expect(responseOf(pod)).toMatchObject({ allowed: true, warnings: [expect.stringContaining('within its time')] });
    expect(responseOf(refused)).toMatchObject({ allowed: false, status: { code: 504, reason: 'Timeout' } });
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
    expect(await count('penstock_webhook_errors_total', { code: 'late' })).toBe(2);
  });

  it('is a path that is asked about objects of another kind', async () => {
    const { review } = await start();
    const deployment = { resource: { group: 'apps', version: 'v1', resource: 'deployments' } };
    expect(responseOf(await review('/mutate/pods', deployment))).toMatchObject({
      allowed: true,
      warnings: [expect.stringContaining('does not review deployments.apps')],
    });
    expect(responseOf(await review('/validate/placements', deployment))).toMatchObject({
      allowed: false,
      status: { code: 400 },
    });
  });
});

describe('the certificate', () => {
  const fingerprint = async (server: TestServer): Promise<string> => {
    const session = http2Session(server);
    await once(session, 'connect');
    const { fingerprint256 } = (session.socket as TLSSocket).getPeerCertificate();
    session.close();
    return fingerprint256;
  };

  it('is replaced for new connections while those that are open go on', async () => {
    const server = await start();
    const before = await fingerprint(server);
    expect(await fingerprint(server)).toBe(before);
    await server.rotate();
    expect(await fingerprint(server)).not.toBe(before);
    expect(responseOf(await server.review('/mutate/pods'))).toMatchObject({ allowed: true });
    expect(responseOf(await callHttp1(server, { body: JSON.stringify(podReview()) }))).toMatchObject({ allowed: true });
  });
});

describe('metrics', () => {
  it('stand at 0 before anything has happened', async () => {
    const { registry } = await start();
    const text = await registry.metrics();
    for (const line of [
      'penstock_webhook_requests_total{webhook="pods",result="allowed",namespace="other",component="test"} 0',
      'penstock_webhook_mutations_total{namespace="other",workload_type="training",component="test"} 0',
      'penstock_webhook_noops_total{reason="no-gpu",namespace="other",workload_type="none",component="test"} 0',
      'penstock_webhook_errors_total{code="late",namespace="other",component="test"} 0',
      'penstock_webhook_policy_enrolled_total{rule="other",component="test"} 0',
      'penstock_webhook_gpus_saved_total{component="test"} 0',
      'penstock_webhook_request_seconds_count{component="test",webhook="pods"} 0',
    ])
      expect(text).toContain(line);
  });

  it('count answers and how long they took', async () => {
    const { review, count } = await start();
    for (let calls = 0; calls < 3; calls++) await review('/mutate/pods');
    const labels = { webhook: 'pods', result: 'allowed', namespace: 'team' };
    expect(await count('penstock_webhook_requests_total', labels)).toBe(3);
    const took = await count('penstock_webhook_request_seconds', { webhook: 'pods', le: 10 });
    expect(took).toBe(3);
  });
});
