// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { anApp } from '../decide/testing.ts';
import { checkSpec, invalidStatus } from './app-spec.ts';

function anAppWith(spec: object): InferenceApp {
  const app = anApp();
  return { ...app, spec: { ...app.spec, ...spec } };
}

describe('checkSpec', () => {
  it('fills in the defaults of an object that was stored before they existed', () => {
    const worker = { archetype: 'Handler', handler: 'a.ts', image: 'example/a:1' };
    const bare = { ...anApp(), spec: { worker } } as unknown as InferenceApp;
    expect(checkSpec(bare)).toMatchObject({
      ok: true,
      app: { spec: { desiredState: 'Ready', scaling: { maxUnits: 1, requestsPerUnit: 10 } } },
    });
  });

  it('names what is wrong with a spec that an older schema has let in', () => {
    const checked = checkSpec(anAppWith({ scaling: { minUnits: 5, maxUnits: 1 } }));
    expect(checked).toMatchObject({
      ok: false,
      message: expect.stringMatching(/minUnits must be at most maxUnits/) as string,
    });
  });

  it.each([
    ['no image at all', {}, 'ImageRequired'],
    ['an image of the worker', { image: 'example/a:1' }, undefined],
  ])('knows what a cluster needs: %s', (_what, image, want) => {
    const checked = checkSpec(anAppWith({ worker: { archetype: 'Handler', handler: 'a.ts', instances: 1, ...image } }));
    expect(checked.ok && checked.problem?.reason).toBe(want);
  });

  it('takes an image that only a placement names', () => {
    const worker = { archetype: 'Handler', handler: 'a.ts', instances: 1 };
    const checked = checkSpec(anAppWith({ worker, placements: [{ name: 'a', overrides: { image: 'example/a:1' } }] }));
    expect(checked).not.toHaveProperty('problem');
  });
});

describe('invalidStatus', () => {
  it('holds the app with the reason, and decides nothing else', () => {
    expect(invalidStatus(anApp(), 'the spec is not valid: x', 0)).toMatchObject({
      phase: 'Held',
      observedGeneration: 1,
      conditions: [{ type: 'Ready', status: 'False', reason: 'InvalidSpec', message: 'the spec is not valid: x' }],
    });
  });
});
