// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { anApp } from '../decide/testing.ts';
import { checkSpec, imageProblem, invalidStatus } from './app-spec.ts';

interface ImageCase {
  readonly image?: string;
  readonly placements?: readonly object[];
}

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
});

describe('imageProblem', () => {
  const chosen = (name: string) => ({ kind: 'chosen', name, scheduleGraceSeconds: 600, unsupported: [] }) as const;
  const none = { kind: 'none', reason: 'PlacementNotFound', message: 'no', unsupported: [] } as const;
  const placements = [{ name: 'a' }, { name: 'b', overrides: { image: 'example/b:1' } }];

  it.each([
    ['no image at all', {}, chosen('default'), 'ImageRequired'],
    ['an image of the worker', { image: 'example/a:1' }, chosen('default'), undefined],
    ['an image of the placement that was chosen', { placements }, chosen('b'), undefined],
    ['an image of another placement only', { placements }, chosen('a'), 'ImageRequired'],
    ['an image that may come with the placement', { placements }, none, undefined],
  ])('knows what a unit here needs: %s', (_what, { image, placements: entries }: ImageCase, choice, want) => {
    const worker = { archetype: 'Handler', handler: 'a.ts', instances: 1, ...(image === undefined ? {} : { image }) };
    const app = anAppWith({ worker, ...(entries === undefined ? {} : { placements: entries }) });
    expect(imageProblem(app, choice)?.reason).toBe(want);
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
