// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { InferenceAppPlacement } from '#crds/inference-app.gen.ts';
import type { Placement } from '#crds/placement.gen.ts';
import { DEFAULT_PLACEMENT, choosePlacement, placementProblem } from './placement.ts';
import { anApp } from './testing.ts';

function aPlacement(name: string, allowedNamespaces?: string[], deleting = false): Placement {
  return {
    apiVersion: 'penstock.dev/v1alpha1',
    kind: 'Placement',
    metadata: deleting ? { name, deletionTimestamp: '2026-11-21T12:00:00Z' } : { name },
    spec: {
      kubernetes: { cluster: 'in-cluster' },
      pricing: 'OnDemand',
      scheduleGraceSeconds: 120,
      ...(allowedNamespaces === undefined ? {} : { allowedNamespaces }),
    },
  };
}

interface Case {
  readonly listed?: InferenceAppPlacement[];
  readonly exist: readonly Placement[];
  readonly wantName?: string;
  readonly wantReason?: string;
  readonly wantMessage?: RegExp;
  readonly wantUnsupported?: readonly string[];
}

const CASES: Record<string, Case> = {
  'the first placement that exists and allows the namespace is used': {
    listed: [{ name: 'a' }],
    exist: [aPlacement('a', ['team'])],
    wantName: 'a',
  },
  'the star allows every namespace': { listed: [{ name: 'a' }], exist: [aPlacement('a', ['*'])], wantName: 'a' },
  'further placements are reported as unsupported': {
    listed: [{ name: 'a' }, { name: 'b' }, { name: 'c' }],
    exist: [aPlacement('a', ['team']), aPlacement('b', ['team'])],
    wantName: 'a',
    wantUnsupported: ['spec.placements[1]', 'spec.placements[2]'],
  },
  'a missing first placement is skipped': {
    listed: [{ name: 'gone' }, { name: 'b' }],
    exist: [aPlacement('b', ['team'])],
    wantName: 'b',
    wantUnsupported: ['spec.placements[0]'],
  },
  'a placement of other namespaces is skipped': {
    listed: [{ name: 'a' }, { name: 'b' }],
    exist: [aPlacement('a', ['other']), aPlacement('b', ['team'])],
    wantName: 'b',
    wantUnsupported: ['spec.placements[0]'],
  },
  'no allowedNamespaces means nobody': {
    listed: [{ name: 'a' }],
    exist: [aPlacement('a')],
    wantReason: 'NamespaceNotAllowed',
    wantMessage: /a does not allow namespace team/,
  },
  'a placement that is being deleted takes nothing new': {
    listed: [{ name: 'a' }],
    exist: [aPlacement('a', ['*'], true)],
    wantReason: 'PlacementNotOpen',
  },
  'when none is left every reason is named': {
    listed: [{ name: 'gone' }, { name: 'b' }],
    exist: [aPlacement('b', ['other'])],
    wantReason: 'PlacementNotFound',
    wantMessage: /gone does not exist; placement b does not allow namespace team/,
    wantUnsupported: ['spec.placements[1]'],
  },
  'an app that lists none gets the placement called default': {
    exist: [aPlacement('a', ['*']), aPlacement(DEFAULT_PLACEMENT, ['team'])],
    wantName: DEFAULT_PLACEMENT,
  },
  'an app that lists none gets nothing from a closed default': {
    exist: [aPlacement(DEFAULT_PLACEMENT, ['other'])],
    wantReason: 'NoPlacement',
    wantMessage: /spec\.placements is empty .* default does not allow namespace team/,
  },
  'an empty list is no list': { listed: [], exist: [], wantReason: 'NoPlacement' },
};

describe('choosePlacement', () => {
  it.each(Object.entries(CASES))('%s', (_name, tc) => {
    const app = anApp();
    if (tc.listed !== undefined) app.spec.placements = tc.listed;
    const choice = choosePlacement(app, new Map(tc.exist.map((placement) => [placement.metadata.name, placement])));
    const got = { name: undefined, reason: undefined, message: '', ...choice };
    const { name, reason, unsupported } = got;
    const wanted = { name: tc.wantName, reason: tc.wantReason, unsupported: tc.wantUnsupported ?? [] };
    expect({ name, reason, unsupported }).toEqual(wanted);
    expect(got.message).toMatch(tc.wantMessage ?? /^(placement .*|spec\.placements is empty.*|)$/);
  });

  it('reports copies of a model server, which one unit can not hold', () => {
    const app = anApp({ sidecar: 60 });
    app.spec.worker.instances = 2;
    app.spec.placements = [{ name: 'a', overrides: { instances: 3 } }];
    const { unsupported } = choosePlacement(app, new Map([['a', aPlacement('a', ['*'])]]));
    expect(unsupported).toEqual(['spec.placements[0].overrides.instances', 'spec.worker.instances']);
  });

  it('reports a request schema that points out of itself, which the API server cannot see', () => {
    const app = anApp();
    app.spec.placements = [{ name: 'a' }];
    const placements = new Map([['a', aPlacement('a', ['*'])]]);
    app.spec.request.schema = { $ref: '#/$defs/a', $defs: { a: {} } };
    expect(choosePlacement(app, placements).unsupported).toEqual([]);
    app.spec.request.schema = { $ref: 'https://example.com/a.json' };
    expect(choosePlacement(app, placements).unsupported).toEqual(['spec.request.schema']);
  });
});

describe('placementProblem', () => {
  it('says that nobody may use a placement without namespaces', () => {
    expect(placementProblem(aPlacement('a'))).toMatch(/allowedNamespaces is empty/);
    expect(placementProblem(aPlacement('a', ['team']))).toBeUndefined();
  });
});
