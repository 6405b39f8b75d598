// SPDX-License-Identifier: Apache-2.0
import { Ajv } from 'ajv';
import type { JSONSchemaType } from 'ajv';
import { parseDocument, visit } from 'yaml';
import type { YAMLMap } from 'yaml';
import { parseQuantity } from '#kube/quantity.ts';
import type { SharingMode } from '../slice/inventory.ts';
import type { NodeRequirement, Toleration, WorkloadType } from '../slice/context.ts';
import type { LabelSelector } from './label-selector.ts';
import { PolicyError, echo, fromSchema } from './policy-error.ts';
import { POLICY_SCHEMA } from './policy.schema.ts';

/** Room for two hundred rules as people write them; a larger text would hold up reviews while it is parsed. */
const MAX_POLICY_CHARS = 96 * 1024;
/** No document of this kind needs any; against texts that grow when read ("billion laughs"). */
const MAX_ALIASES = 64;
/** A share below this is a misplaced unit: a CUDA context alone takes more. */
const LEAST_MEMORY = 2 ** 20;

export type Strategy = 'auto' | 'image' | 'init';

export interface PolicyRule {
  readonly name: string;
  readonly namespaceSelector?: LabelSelector;
  readonly podSelector?: LabelSelector;
  readonly action: 'slice' | 'ignore';
  readonly ratio?: number;
  /** A quantity. */
  readonly vram?: string;
  readonly workloadType?: WorkloadType;
  readonly dryRun?: boolean;
}

export interface SharedResourceEntry {
  readonly name: string;
  readonly mode?: SharingMode;
  readonly failRequestsGreaterThanOne?: boolean;
  readonly packsOnOneCard?: boolean;
  readonly slotsPerGPU?: number;
  /** A quantity. */
  readonly memoryPerSlot?: string;
}

export interface DeliveryEntry {
  readonly strategy?: Strategy;
  readonly betaImageVolumes?: boolean;
  readonly namespaces?: readonly { readonly namespaceSelector: LabelSelector; readonly strategy: Strategy }[];
}

/** policy.yaml. */
export interface PolicyDocument {
  readonly version: 1;
  readonly gpuResource?: string;
  readonly sharedResources?: readonly SharedResourceEntry[];
  readonly rules?: readonly PolicyRule[];
  readonly delivery?: DeliveryEntry;
  readonly tolerations?: readonly Toleration[];
  readonly nodeRequirements?: readonly NodeRequirement[];
}

const validate = new Ajv({ strict: true, strictTypes: false, verbose: true }).compile(
  POLICY_SCHEMA as unknown as JSONSchemaType<PolicyDocument>,
);

/** @throws PolicyError */
export function readPolicyDocument(text: string): PolicyDocument {
  if (text.length > MAX_POLICY_CHARS) {
    throw new PolicyError('document', `has ${text.length} characters`, `write at most ${MAX_POLICY_CHARS}`);
  }
  const value = parseYaml(text);
  if (value === null || value === undefined) {
    throw new PolicyError('document', 'is empty', 'write at least version: 1, or delete the ConfigMap for no policy');
  }
  if (!validate(value)) throw fromSchema(validate.errors?.[0]);
  check(value);
  return value;
}

function parseYaml(text: string): unknown {
  try {
    // The parser's own look for keys that stand twice compares each with each: seconds for a document of nothing else.
    const document = parseDocument(text, { prettyErrors: true, uniqueKeys: false });
    const [error] = document.errors;
    if (error) throw error;
    visit(document, { Map: (_key, map) => checkKeys(map) });
    return document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (cause) {
    throw new PolicyError('document', `is no YAML: ${firstLine(cause)}`, 'mend its syntax', { cause });
  }
}

function checkKeys({ items }: YAMLMap): void {
  const seen = new Set<string>();
  for (const { key } of items) {
    const name = String(key);
    if (seen.has(name)) throw new Error(`key ${echo(name)} is there twice in one mapping`);
    seen.add(name);
  }
}

/** What a schema cannot say. */
function check({
  rules = [],
  sharedResources = [],
  tolerations = [],
  nodeRequirements = [],
  delivery,
}: PolicyDocument): void {
  once(rules, 'rules');
  once(sharedResources, 'sharedResources');
  sharedResources.forEach(({ memoryPerSlot }, i) => checkMemory(memoryPerSlot, `sharedResources[${i}].memoryPerSlot`));
  rules.forEach(checkRule);
  delivery?.namespaces?.forEach(({ namespaceSelector }, i) =>
    checkSelector(namespaceSelector, `delivery.namespaces[${i}].namespaceSelector`),
  );
  nodeRequirements.forEach((requirement, i) => checkRequirement(requirement, `nodeRequirements[${i}]`));
  tolerations.forEach(({ key, operator = 'Equal', value, effect, tolerationSeconds }, i) => {
    const at = `tolerations[${i}]`;
    if (key === undefined && operator !== 'Exists')
      throw new PolicyError(`${at}.operator`, 'must be Exists without a key', 'write Exists, or a key');
    if (operator === 'Exists' && value)
      throw new PolicyError(`${at}.value`, 'has no meaning with operator Exists', 'leave it out');
    if (tolerationSeconds !== undefined && effect !== 'NoExecute') {
      throw new PolicyError(`${at}.tolerationSeconds`, 'has a meaning with effect NoExecute only', 'leave it out');
    }
  });
}

function checkRule({ action, namespaceSelector, podSelector, ...rule }: PolicyRule, i: number): void {
  const at = `rules[${i}]`;
  const sizes = (['ratio', 'vram', 'workloadType'] as const).filter((size) => rule[size] !== undefined);
  const [first, second] = sizes;
  if (second !== undefined) {
    throw new PolicyError(`${at}.${second}`, `contradicts ${first}`, 'write one of ratio, vram and workloadType');
  }
  if (action === 'ignore' && first !== undefined) {
    throw new PolicyError(
      `${at}.${first}`,
      'has no meaning with action ignore',
      'leave it out, or write action: slice',
    );
  }
  if (action === 'ignore' && rule.dryRun === true) {
    throw new PolicyError(`${at}.dryRun`, 'has no meaning with action ignore', 'leave it out, or write action: slice');
  }
  checkMemory(rule.vram, `${at}.vram`);
  checkSelector(namespaceSelector, `${at}.namespaceSelector`);
  checkSelector(podSelector, `${at}.podSelector`);
}

function checkMemory(memory: string | undefined, at: string): void {
  const bytes = memory === undefined ? LEAST_MEMORY : (parseQuantity(memory) ?? 0);
  if (bytes >= LEAST_MEMORY && Number.isSafeInteger(Math.floor(bytes))) return;
  throw new PolicyError(at, `is ${echo(memory)}`, 'write at least 1Mi and no more than there is, such as 10Gi');
}

function checkSelector(selector: LabelSelector | undefined, at: string): void {
  selector?.matchExpressions?.forEach((requirement, i) =>
    checkRequirement(requirement, `${at}.matchExpressions[${i}]`),
  );
}

function checkRequirement({ operator, values = [] }: NodeRequirement, at: string): void {
  const listed = operator === 'In' || operator === 'NotIn';
  const compared = operator === 'Gt' || operator === 'Lt';
  if (listed && values.length === 0)
    throw new PolicyError(`${at}.values`, `is empty with ${operator}`, 'write at least one value');
  if (compared && !(values.length === 1 && /^-?\d{1,15}$/.test(values[0] ?? ''))) {
    throw new PolicyError(`${at}.values`, `does not fit ${operator}`, 'write one whole number, in quotes');
  }
  if (!listed && !compared && values.length > 0) {
    throw new PolicyError(`${at}.values`, `has no meaning with ${operator}`, 'leave it out, or write In or NotIn');
  }
}

function once(entries: readonly { readonly name: string }[], at: string): void {
  entries.forEach(({ name }, i) => {
    const first = entries.findIndex((entry) => entry.name === name);
    if (first < i)
      throw new PolicyError(
        `${at}[${i}].name`,
        `${name} is there twice, first in ${at}[${first}]`,
        'give each one a name of its own',
      );
  });
}

function firstLine(err: unknown): string {
  return (err instanceof Error ? err.message : String(err)).split('\n', 1)[0] ?? '';
}
