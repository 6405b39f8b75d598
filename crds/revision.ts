// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { canonicalJson } from './canonical.ts';
import type { InferenceApp, InferenceAppEnv } from './inference-app.gen.ts';

/** Changes when the canonical form does, so that a new form never passes for an old revision by accident. */
const FORM = 1;

/** 64 bits: enough within one app, short enough for labels, Job names and queue keys. */
const REVISION_LENGTH = 16;

/**
 * Revision of an app: 16 hex digits of the SHA-256 of everything that may change what a unit answers: image, handler,
 * command, args, env, envFrom, server, podTemplate, worker.revision and the overrides of all placements. Scaling, batchSize,
 * instances and the order of placements, env or keys do not alter it. Takes a normalised app (see normalise.ts): an
 * absent field and its default written out give the same revision.
 */
export function revisionOf(app: Pick<InferenceApp, 'spec'>): string {
  const { image, handler, command, args, env, envFrom, server, revision, podTemplate } = app.spec.worker;
  const overrides = (app.spec.placements ?? [])
    .filter((placement) => Object.keys(placement.overrides ?? {}).length > 0)
    .map(({ name, overrides }) => ({ name, overrides: { ...overrides, env: byName(overrides?.env) } }));
  const form = {
    form: FORM,
    worker: { image, handler, command, args, env: byName(env), envFrom, server, revision, podTemplate },
    overrides: byName(overrides),
  };
  return createHash('sha256').update(canonicalJson(form)).digest('hex').slice(0, REVISION_LENGTH);
}

/** Lists keyed by name have no meaningful order; the API server itself may reorder them on apply. */
function byName<T extends Pick<InferenceAppEnv, 'name'>>(list: readonly T[] | undefined): T[] | undefined {
  return list && list.length > 0 ? [...list].sort((a, b) => (a.name < b.name ? -1 : 1)) : undefined;
}
