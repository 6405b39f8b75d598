// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { graceSeconds } from './job-settings.ts';
import { unitJob, unitSecret } from './job.ts';
import { PLAN_CASES, SETTINGS } from './testing.ts';

const jobs = Object.entries(PLAN_CASES).map(
  ([name, { plan, placement }]) => [name, unitJob(plan, placement, SETTINGS)] as const,
);

describe('unitJob', () => {
  // vitest -u rewrites the golden files; read the difference before you commit it.
  it.each(jobs)('makes the golden Job %s', async (name, job) => {
    await expect(stringify(job, { lineWidth: 0, aliasDuplicateObjects: false })).toMatchFileSnapshot(
      `./golden/${name}.yaml.golden`,
    );
  });

  it.each(jobs)('makes a Job that is run once, is never timed out and belongs to nobody: %s', (_name, job) => {
    expect(job.spec).toMatchObject({ parallelism: 1, completions: 1, backoffLimit: 0 });
    expect(job.spec).not.toHaveProperty('activeDeadlineSeconds');
    expect(job.spec).not.toHaveProperty('ttlSecondsAfterFinished');
    expect(job.metadata).not.toHaveProperty('ownerReferences');
    expect(job.spec.template.spec.restartPolicy).toBe('Never');
  });

  it.each(jobs)(
    'makes pods that no probe can end and that have no account unless a template gives one: %s',
    (name, job) => {
      const { initContainers = [], containers, ...spec } = job.spec.template.spec;
      expect([...initContainers, ...containers].filter((container) => 'livenessProbe' in container)).toEqual([]);
      expect(spec.automountServiceAccountToken).toBe(name === 'sidecar-template');
    },
  );

  it.each(jobs)('never lets the kubelet expand a value of the user: %s', (_name, job) => {
    const { initContainers = [], containers } = job.spec.template.spec;
    const texts = [...initContainers, ...containers].flatMap((container) => [
      ...(container.env ?? []).map((entry) => entry.value ?? ''),
      ...(container.command ?? []),
      ...(container.args ?? []),
    ]);
    // What the kubelet's expansion leaves: `$$` is a dollar sign, `$(` would begin a reference.
    expect(texts.filter((text) => text.replaceAll('$$', '').includes('$'))).toEqual([]);
  });

  it('gives only the worker the unit token, never the model server', () => {
    const { initContainers = [] } = jobs.find(([name]) => name === 'sidecar-everything')![1].spec.template.spec;
    expect(initContainers[0]?.volumeMounts.map((mount) => mount.name)).toEqual(['server-tmp']);
  });
});

describe('graceSeconds', () => {
  it.each([
    ['the time of one request and 30 s more', 60, 90],
    ['at most an hour', 86_400, 3600],
  ])('is %s', (_what, timeout, want) => {
    expect(graceSeconds(timeout)).toBe(want);
  });
});

describe('unitSecret', () => {
  it('has the name of the unit, is owned by its Job and holds nothing but the token', () => {
    const [, job] = jobs[0]!;
    const secret = unitSecret({ ...job, metadata: { ...job.metadata, uid: 'job-uid' } }, 'the.unit.token');
    expect(secret).toMatchObject({
      metadata: { name: job.metadata.name, namespace: 'team', ownerReferences: [{ kind: 'Job', uid: 'job-uid' }] },
      stringData: { token: 'the.unit.token' },
    });
    expect(Object.keys(secret.stringData)).toEqual(['token']);
  });
});
