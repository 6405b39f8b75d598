// SPDX-License-Identifier: Apache-2.0
// The part of docs/configuration.md about ConfigMap penstock-slicing, from the schema by which the webhook checks it.
import { FINDINGS } from '#webhook/nodes/findings.ts';
import { POLICY_SCHEMA } from '#webhook/policy/policy.schema.ts';

interface Field {
  readonly title?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, Field>>;
  readonly required?: readonly string[];
  readonly items?: Field;
}

const INTRO = [
  '## Slicing policy',
  '',
  'ConfigMap `penstock-slicing` in the namespace of the webhook, key `policy.yaml`: which pods get a slice of a GPU without asking for it,',
  'and what is known of the shared resources beside the labels of the nodes. [config/samples/slicing.yaml](../config/samples/slicing.yaml)',
  'is one to start from. It is optional. A change is in force within a second, without a restart, for pods that are created from then on.',
  'A document that does not fit, down to a misspelt field, is refused as a whole: the last good one stays in force. A replica that starts with',
  'such a document knows no good one, and slices nothing (`no-policy`) until there is one, or the ConfigMap is deleted.',
  'Event `PolicyRefused` on the ConfigMap, the log and `penstock_webhook_policy_last_reload_success` = 0 tell of it, with the field and what',
  'to write. Without the ConfigMap nobody is enrolled, and the rest has its defaults.',
  '',
];

const FINDINGS_INTRO = [
  'What nodes advertise, what their labels say and what people state may contradict each other, or be too little. Then the answer is one by',
  'which shares can never add up to more than a card, the log names node and remedy, and `penstock_webhook_node_findings{reason}` counts the nodes:',
  '',
  '| reason | what it is, and what is made of it |',
  '|---|---|',
];

export function policyReference(): string[] {
  const root: Field = POLICY_SCHEMA;
  const selector = selectorOf(root);
  return [
    ...INTRO,
    '| field | write | default | meaning |',
    '|---|---|---|---|',
    ...rowsOf(root, ''),
    ...(selector === undefined ? [] : rowsOf(selector, '(a selector).')),
    '',
    ...FINDINGS_INTRO,
    ...Object.entries(FINDINGS).map(([reason, meaning]) => `| \`${reason}\` | ${meaning} |`),
    '',
  ];
}

function rowsOf(schema: Field, prefix: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const path = `${prefix}${name}`;
    const inner = field.items ?? field;
    const below = isSelector(inner) ? [] : rowsOf(inner, field.items === undefined ? `${path}.` : `${path}[].`);
    return [rowOf(path, field, schema.required?.includes(name) ?? false), ...below];
  });
}

function rowOf(path: string, field: Field, required: boolean): string {
  const write = isSelector(field) ? 'a selector' : (field.description ?? '').replace(/^write /, '');
  const given = field.default === undefined ? '' : `\`${JSON.stringify(field.default).replaceAll('"', '')}\``;
  const byDefault = required ? 'required' : given;
  return `| \`${path}\` | ${write} | ${byDefault} | ${field.title ?? ''} |`;
}

function isSelector(field: Field): boolean {
  return field.properties?.['matchLabels'] !== undefined;
}

/** One of the selectors: all have the same fields. */
function selectorOf(field: Field): Field | undefined {
  if (isSelector(field)) return field;
  const inner = [...Object.values(field.properties ?? {}), ...(field.items === undefined ? [] : [field.items])];
  for (const each of inner) {
    const found = selectorOf(each);
    if (found !== undefined) return found;
  }
  return undefined;
}
