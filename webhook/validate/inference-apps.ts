// SPDX-License-Identifier: Apache-2.0
import { isDeepStrictEqual } from 'node:util';
import { normalise } from '#crds/normalise.ts';
import { POD_TEMPLATE } from '#crds/pod-template.ts';
import { INFERENCE_APP_SHAPE } from '#crds/shapes.gen.ts';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import type { Placement } from '#crds/placement.gen.ts';
import { unitReferences } from '#crds/unit-references.ts';
import { isObject } from '#base/json.ts';
import type { TenantsDocument } from '#base/tenants.ts';
import type { Cache } from '#kube/cache.ts';
import type { AdmissionHandler, AdmissionRequest, Refusal, Verdict } from '../admission/types.ts';
import type { PodCreators } from './access.ts';
import { formProblems, imageProblems, placementProblems, schemaProblems } from './app-problems.ts';
import { appWarnings } from './app-warnings.ts';
import { CEILING_FIELDS, ceilingProblems, ceilingWarnings } from './ceilings.ts';
import { ofChanges } from './changes.ts';
import type { Known } from './hot-document.ts';
import type { ImagePolicy } from './images.ts';
import type { DryRun, JobDryRun } from './job-dry-run.ts';
import { forbidden, refusalOf } from './problems.ts';
import type { Problem } from './problems.ts';

type Json = Readonly<Record<string, unknown>>;

export interface AppChecks {
  readonly placements: Pick<Cache<Placement>, 'get' | 'hasSynced'>;
  /** A placement as it is now; the watch may be a moment behind what the same apply changed. Never rejects. */
  readonly lookUp: (placement: string, signal: AbortSignal) => Promise<Placement | undefined>;
  readonly images: () => Known<ImagePolicy>;
  readonly tenants: () => Known<TenantsDocument>;
  readonly creators: PodCreators;
  readonly dryRun: JobDryRun;
}

const ALLOWED: Verdict = {};
const CEILINGS = CEILING_FIELDS.map(field);
const NOTHING: DryRun = { problems: [], warnings: [] };

/**
 * The validating handler of InferenceApps. What it alone enforces and cannot look up (images, ceilings, who may create pods) refuses
 * with 503; what the operator or the API server enforces again later is then a warning.
 */
export function validateInferenceApps(checks: AppChecks): AdmissionHandler {
  return (request, signal) => {
    const { object, oldObject } = request;
    if (object === undefined || isLeaving(object)) return ALLOWED;
    // Finalizers, labels and status are nobody's business here.
    if (oldObject !== undefined && isDeepStrictEqual(object['spec'], oldObject['spec'])) return ALLOWED;
    return new Review(checks, request, signal, object).verdict();
  };
}

class Review {
  readonly #checks: AppChecks;
  readonly #request: AdmissionRequest;
  readonly #signal: AbortSignal;
  readonly #app: InferenceApp;
  readonly #what: string;
  readonly #namespace: string;

  constructor(checks: AppChecks, request: AdmissionRequest, signal: AbortSignal, object: Json) {
    this.#checks = checks;
    this.#request = request;
    this.#signal = signal;
    // The API server has checked it against the schema and filled in the defaults before it asks; somebody else may not have.
    this.#app = normalise(INFERENCE_APP_SHAPE, object) as InferenceApp;
    this.#what = `InferenceApp ${JSON.stringify(nameOf(request, object))}`;
    this.#namespace = request.namespace ?? '';
  }

  /** The cheap checks first: what they refuse asks the API server nothing. */
  async verdict(): Promise<Verdict> {
    const unknown = this.#unknown();
    if (unknown !== undefined)
      return { refusal: { code: 503, message: `${this.#what} cannot be checked: ${unknown}` } };
    const form = this.#changed(formProblems(this.#request.object ?? {}));
    const isOdd = form.some(({ path }) => !path.startsWith(POD_TEMPLATE));
    if (isOdd) return { refusal: refusalOf(422, this.#what, form) };
    // Of a template that is not even of the right form nothing else can be said.
    const own = form.length > 0 ? form : this.#changed(this.#problems());
    const problems = [...own, ...(await this.#places())];
    if (problems.length > 0) return { refusal: refusalOf(422, this.#what, problems) };
    const [refusal, dryRun] = await Promise.all([this.#access(), this.#tryJob()]);
    if (refusal !== undefined) return { refusal };
    const found = this.#changed(dryRun.problems);
    if (found.length > 0) return { refusal: refusalOf(422, this.#what, found) };
    const warnings = [...dryRun.warnings, ...this.#warnings()];
    return warnings.length > 0 ? { warnings } : ALLOWED;
  }

  #unknown(): string | undefined {
    const [images, tenants] = [this.#checks.images(), this.#checks.tenants()];
    if (images.state === 'unknown' && this.#runsOtherwise()) return images.why;
    return tenants.state === 'unknown' && this.#changed(CEILINGS).length > 0 ? tenants.why : undefined;
  }

  #problems(): Problem[] {
    const { images, tenants } = this.#checks;
    const [allowed, ceilings] = [images(), tenants()];
    return [
      ...schemaProblems(this.#app),
      ...(allowed.state === 'known' ? imageProblems(this.#app, this.#namespace, allowed.value) : []),
      ...(ceilings.state === 'known' ? ceilingProblems(this.#app, this.#namespace, ceilings.value) : []),
    ];
  }

  /** Asked for again before anybody is refused: in one apply the placement may have been opened just before. */
  async #places(): Promise<Problem[]> {
    const { placements, lookUp } = this.#checks;
    const cached = placementProblems(this.#app, this.#namespace, (name) => placements.get(name));
    if (this.#changed(cached).length === 0) return [];
    const names = (this.#app.spec.placements ?? []).map(({ name }) => name);
    const now = await Promise.all(names.map((name) => lookUp(name, this.#signal)));
    return this.#changed(placementProblems(this.#app, this.#namespace, (name) => now[names.indexOf(name)]));
  }

  #warnings(): string[] {
    const { placements, tenants } = this.#checks;
    const view = { synced: placements.hasSynced(), of: (name: string) => placements.get(name) };
    const ceilings = tenants();
    return [
      ...appWarnings(this.#app, this.#namespace, view),
      ...(ceilings.state === 'known' ? ceilingWarnings(this.#app, this.#namespace, ceilings.value) : []),
    ];
  }

  /**
   * Who lets units use Secrets, ConfigMaps, claims or accounts of the namespace must be somebody who may create pods there. So must who
   * changes what runs beside such a reference: another image would read the same Secret.
   */
  async #access(): Promise<Refusal | undefined> {
    const references = unitReferences(this.#app.spec);
    if (references.length === 0 || !this.#runsOtherwise()) return undefined;
    const { userInfo } = this.#request;
    try {
      if (await this.#checks.creators.mayCreatePods(userInfo, this.#namespace, this.#signal)) return undefined;
    } catch (err) {
      const why = err instanceof Error ? err.message : String(err);
      return { code: 503, message: `${this.#what} cannot be checked: whether you may create pods: ${why}` };
    }
    const who = `user ${JSON.stringify(userInfo.username ?? '')} may not create pods in namespace ${this.#namespace}`;
    const problems = references.map(({ path, what }) => forbidden(path, `${what} may not be used: ${who}`));
    return refusalOf(403, this.#what, problems);
  }

  #tryJob(): Promise<DryRun> {
    const template = this.#app.spec.worker.podTemplate ?? {};
    if (Object.keys(template).length === 0 || this.#changed([field(POD_TEMPLATE)]).length === 0)
      return Promise.resolve(NOTHING);
    return this.#checks.dryRun.tryJob(this.#app, this.#namespace, this.#signal);
  }

  #runsOtherwise(): boolean {
    const { oldObject } = this.#request;
    return oldObject === undefined || !isDeepStrictEqual(whatRuns(oldObject), whatRuns(this.#request.object));
  }

  #changed(problems: readonly Problem[]): Problem[] {
    const { object, oldObject } = this.#request;
    return oldObject === undefined ? [...problems] : ofChanges(problems, oldObject, object);
  }
}

/** A field, to ask whether it changes. */
function field(path: string): Problem {
  return { path, message: '', reason: 'FieldValueInvalid' };
}

function whatRuns(object: unknown): unknown {
  const spec = isObject(object) ? object['spec'] : undefined;
  return isObject(spec) ? [spec['worker'], spec['placements']] : spec;
}

function isLeaving(object: Json): boolean {
  const { metadata } = object;
  return isObject(metadata) && metadata['deletionTimestamp'] !== undefined && metadata['deletionTimestamp'] !== null;
}

function nameOf({ name }: AdmissionRequest, { metadata }: Json): string {
  const own = isObject(metadata) ? (metadata['name'] ?? metadata['generateName']) : undefined;
  return name ?? (typeof own === 'string' ? own : '');
}
