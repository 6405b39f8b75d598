// SPDX-License-Identifier: Apache-2.0
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { RESOURCES } from '#crds/names.ts';
import { formatFieldError } from '#crds/field-error.ts';
import type { FieldError } from '#crds/field-error.ts';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { parseManifests } from '#crds/parse.ts';
import { validateInferenceApp } from '#crds/validate.ts';

export interface FoundApp {
  readonly file: string;
  readonly app: InferenceApp;
}

export interface Manifests {
  readonly apps: readonly FoundApp[];
  /** Files of which at least one document could not be read: what they held before stays. */
  readonly broken: ReadonlySet<string>;
  /** `file:line: path: what is wrong`, for people. */
  readonly problems: readonly string[];
}

export interface ManifestOptions {
  /** Namespace of manifests that name none. */
  readonly namespace: string;
  /** The manifest in force until now, for rules about changes. */
  readonly previous: (namespace: string, name: string) => InferenceApp | undefined;
  /** What whoever runs the apps demands beyond the schema. */
  readonly check: (app: InferenceApp, file: string) => readonly FieldError[];
}

/** Every InferenceApp in a file, or in the *.yaml, *.yml and *.json files of a folder. Placements are let pass: nobody places here. */
export function readManifests(path: string, options: ManifestOptions): Manifests {
  const apps: FoundApp[] = [];
  const broken = new Set<string>();
  const problems: string[] = [];
  const seen = new Set<string>();
  for (const file of manifestFiles(path)) {
    const refuse = (line: number, error: FieldError): void => {
      broken.add(file);
      problems.push(`${file}:${line}: ${formatFieldError(error)}`);
    };
    const parsed = parseManifests(readFileSync(file, 'utf8'));
    if (!parsed.ok) {
      for (const error of parsed.errors) refuse(1, error);
      continue;
    }
    for (const { value, line } of parsed.documents) {
      if (kindOf(value) === RESOURCES.placement.kind) continue;
      const { app, errors } = readApp(value, file, options);
      for (const error of errors) refuse(line, error);
      if (app === undefined) continue;
      const name = `${app.metadata.namespace ?? ''}/${app.metadata.name}`;
      if (seen.has(name)) refuse(line, { path: 'metadata.name', message: `${name} is there twice` });
      else apps.push({ file, app });
      seen.add(name);
    }
  }
  return { apps, broken, problems };
}

/** Whether a file of this name is read in a folder of manifests. */
export function isManifest(name: string): boolean {
  return /^[^.].*\.(?:ya?ml|json)$/.test(name);
}

function manifestFiles(path: string): readonly string[] {
  const full = resolve(path);
  if (!statSync(full).isDirectory()) return [full];
  return readdirSync(full)
    .filter(isManifest)
    .toSorted()
    .map((name) => join(full, name));
}

function kindOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'kind' in value ? value.kind : undefined;
}

function readApp(
  value: unknown,
  file: string,
  { namespace, previous, check }: ManifestOptions,
): { readonly app?: InferenceApp; readonly errors: readonly FieldError[] } {
  const created = validateInferenceApp(value);
  if (!created.ok) return created;
  const home = created.value.metadata.namespace ?? namespace;
  const old = previous(home, created.value.metadata.name);
  const verdict = old === undefined ? created : validateInferenceApp(value, old);
  if (!verdict.ok) return verdict;
  const app = { ...verdict.value, metadata: { ...verdict.value.metadata, namespace: home } };
  const errors = check(app, file);
  return errors.length > 0 ? { errors } : { app, errors };
}
