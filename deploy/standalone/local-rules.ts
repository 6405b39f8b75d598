// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { FieldError } from '#crds/field-error.ts';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { requestSchemaFault } from '#crds/request-schema.ts';

/** Name of the one placement that exists without a cluster: this machine. */
export const LOCAL_PLACEMENT = 'local';

/** `package.module:Class`: Python finds it on its own path. */
const PYTHON_HANDLER = /^[A-Za-z_][\w.]*:[A-Za-z_]\w*$/;

/** What a valid manifest may ask for that one machine without a cluster cannot give. Handlers are relative to the manifest's `file`. */
export function localErrors(app: InferenceApp, file: string): FieldError[] {
  return [...runnable(app, dirname(file)), ...environment(app), ...bodySchema(app)];
}

/** In a cluster the operator says so in a condition: the API server looks into no schema. */
function bodySchema({ spec }: InferenceApp): FieldError[] {
  const { schema } = spec.request;
  const message = schema === undefined ? undefined : requestSchemaFault(schema);
  return message === undefined ? [] : [{ path: 'spec.request.schema', message }];
}

function runnable({ spec }: InferenceApp, folder: string): FieldError[] {
  const { worker, scaling } = spec;
  if (worker.archetype === 'Handler') {
    if (worker.handler === undefined) {
      const message = 'is required in standalone, which runs processes, not images';
      return [{ path: 'spec.worker.handler', message, hint: 'name a TypeScript module, or module:Class for Python' }];
    }
    if (PYTHON_HANDLER.test(worker.handler) || existsSync(resolve(folder, worker.handler))) return [];
    const message = `there is no such file in ${folder}`;
    return [{ path: 'spec.worker.handler', message, hint: "a path is relative to the manifest's folder" }];
  }
  const errors: FieldError[] = [];
  if (worker.command === undefined) {
    const message = 'is required in standalone, which runs processes, not images';
    errors.push({ path: 'spec.worker.command', message, hint: 'give the command that starts the model server' });
  }
  if (scaling.maxUnits > 1) {
    const message = 'must be 1 in standalone: two model servers cannot share one port of this machine';
    errors.push({ path: 'spec.scaling.maxUnits', message });
  }
  return errors;
}

function environment({ spec }: InferenceApp): FieldError[] {
  const message = 'needs a cluster: there are no Secrets and ConfigMaps in standalone';
  const from = (spec.worker.env ?? []).flatMap((entry, i) =>
    entry.valueFrom === undefined ? [] : [{ path: `spec.worker.env[${i}].valueFrom`, message, hint: 'use value' }],
  );
  if (spec.worker.envFrom === undefined) return from;
  return [...from, { path: 'spec.worker.envFrom', message, hint: 'use env' }];
}

/** Fields that are valid and without effect here; the log says so. */
export function unsupportedHere({ spec }: InferenceApp): string[] {
  const paths = (spec.placements ?? []).flatMap(({ name, overrides }, i) => {
    if (name !== LOCAL_PLACEMENT) return [`spec.placements[${i}]`];
    return overrides?.image === undefined ? [] : [`spec.placements[${i}].overrides.image`];
  });
  if (spec.resources !== undefined) paths.push('spec.resources');
  if (spec.worker.image !== undefined) paths.push('spec.worker.image');
  if (spec.worker.podTemplate !== undefined) paths.push('spec.worker.podTemplate');
  return paths;
}
