// SPDX-License-Identifier: Apache-2.0
// JSON Schema of policy.yaml in ConfigMap penstock-slicing. Each title says what a field is for (docs/configuration.md shows it),
// each description what to write: it is the `fix` of an error at that place.

/** Rules are tried one after another for each pod that asks for a GPU without saying more. */
const MAX_RULES = 200;
const MAX_SHARED_RESOURCES = 64;
const MAX_TOLERATIONS = 32;
const MAX_REQUIREMENTS = 32;
const MAX_VALUES = 64;

type Fields = Readonly<Record<string, object>>;

const described = (title: string, description: string) => ({ title, description });
const list = (title: string, maxItems: number, items: object) => ({
  type: 'array',
  maxItems,
  items,
  ...described(title, `write a list of at most ${maxItems} entries`),
});
const closed = (title: string, required: readonly string[], properties: Fields) => ({
  type: 'object',
  additionalProperties: false,
  required,
  properties,
  ...described(title, `write a mapping with ${Object.keys(properties).join(', ')}`),
});
const word = (title: string, values: readonly string[]) => ({
  enum: values,
  ...described(title, `write ${values.slice(0, -1).join(', ')} or ${values.at(-1)}`),
});
const integer = (title: string, minimum: number, maximum: number) => ({
  type: 'integer',
  minimum,
  maximum,
  ...described(title, `write an integer from ${minimum} to ${maximum}`),
});
const flag = (title: string, byDefault: boolean) => ({
  type: 'boolean',
  default: byDefault,
  ...described(title, 'write true or false'),
});
const text = (title: string, pattern: string, maxLength: number, description: string) => ({
  type: 'string',
  maxLength,
  pattern,
  ...described(title, description),
});

const DOMAIN = '[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*';
const NAME = '[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?';
const labelKey = (title: string) =>
  text(title, `^(?:${DOMAIN}/)?${NAME}$`, 317, 'write the key of a label, such as team or example.com/team');
const labelValue = (title: string) =>
  text(title, `^(?:${NAME})?$`, 63, 'write the value of a label, in quotes where it is a number, true or false');
const resource = (title: string) =>
  text(title, `^${DOMAIN}/${NAME}$`, 317, 'write the name of an extended resource, such as nvidia.com/gpu.shared');
const memory = (title: string) =>
  text(
    title,
    '^[0-9]+(?:\\.[0-9]+)?(?:[kMGT]|[KMGT]i)?$',
    24,
    'write an amount of memory such as 10Gi, in quotes where it is a number',
  );

const operators = (all: readonly string[]) => word('how the value is compared', all);
const requirement = (title: string, all: readonly string[]) =>
  closed(title, ['key', 'operator'], {
    key: labelKey('the label'),
    operator: operators(all),
    values: list(
      'for In and NotIn: at least one; Gt and Lt: one whole number; else none',
      MAX_VALUES,
      labelValue('one value'),
    ),
  });
const selector = (title: string) =>
  closed(title, [], {
    matchLabels: {
      type: 'object',
      maxProperties: MAX_REQUIREMENTS,
      propertyNames: labelKey('the label'),
      additionalProperties: labelValue('the value that it must have'),
      ...described('labels that all must be there with these values', 'write a mapping of labels to their values'),
    },
    matchExpressions: list(
      'requirements that all must hold',
      MAX_REQUIREMENTS,
      requirement('one requirement', ['In', 'NotIn', 'Exists', 'DoesNotExist']),
    ),
  });

const rule = closed('one rule', ['name', 'action'], {
  name: text(
    'what the rule is called in annotations, logs and metrics',
    '^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$',
    63,
    'write at most 63 lower-case letters, digits and hyphens',
  ),
  namespaceSelector: selector('namespaces that it is about, by their labels; absent: all'),
  podSelector: selector('pods that it is about, by their labels; absent: all'),
  action: word('slice enrols the pod as if it had asked; ignore leaves it as it is', ['slice', 'ignore']),
  ratio: integer('slots for each GPU that a container asks for', 1, 64),
  vram: memory('GPU memory for each GPU that a container asks for, in place of ratio'),
  workloadType: word('training stands for ratio 4, inference and batch for 2, dev for 1; in place of ratio', [
    'training',
    'inference',
    'batch',
    'dev',
  ]),
  dryRun: flag('only annotate and count', false),
});

const sharedResource = closed('one shared resource', ['name'], {
  name: resource('its name'),
  mode: word('how its units share a card; absent: what the node’s labels say, else TimeSlicing', [
    'TimeSlicing',
    'MPS',
    'MIG',
  ]),
  failRequestsGreaterThanOne: flag(
    'the device plugin refuses more than one unit for a container (its setting of the same name; MPS and MIG always do)',
    false,
  ),
  packsOnOneCard: flag(
    'the device plugin gives all units of a container from one card; NVIDIA’s spreads them, so that nodes with several cards serve one slot at a time',
    false,
  ),
  slotsPerGPU: integer('slots of one card; absent: label nvidia.com/gpu.replicas', 1, 1_024),
  memoryPerSlot: memory('memory of one slot; absent: the card’s, label nvidia.com/gpu.memory, divided by its slots'),
});

const toleration = closed('one toleration, as pods have them', [], {
  key: labelKey('key of the taint; absent: every taint, with operator Exists'),
  operator: word('how the taint is compared; absent: Equal', ['Exists', 'Equal']),
  value: labelValue('value of the taint'),
  effect: word('effect of the taint; absent: all', ['NoSchedule', 'PreferNoSchedule', 'NoExecute']),
  tolerationSeconds: integer('for effect NoExecute: for how long', 0, 31_536_000),
});

const STRATEGIES = ['auto', 'image', 'init'] as const;
const strategy = (title: string) => word(title, STRATEGIES);

const delivery = closed('how the library comes into sliced pods', [], {
  strategy: {
    default: 'auto',
    ...strategy(
      'auto: an image volume where the API server and all GPU nodes have it, else an init container; image and init force one of them',
    ),
  },
  betaImageVolumes: flag(
    'auto: take Kubernetes 1.33 and 1.34 for good as well; there the feature gate ImageVolume must be set on API server and kubelets',
    false,
  ),
  namespaces: list(
    'exceptions, the first that matches; for namespaces whose rules refuse one of the ways',
    MAX_RULES,
    closed('one exception', ['namespaceSelector', 'strategy'], {
      namespaceSelector: selector('namespaces that it is about, by their labels'),
      strategy: strategy('as above'),
    }),
  ),
});

export const POLICY_SCHEMA = closed('the document', ['version'], {
  version: { const: 1, ...described('version of this shape', 'write 1') },
  gpuResource: { default: 'nvidia.com/gpu', ...resource('name of whole GPUs, as containers ask for them') },
  sharedResources: list(
    'what is known of shared resources beside the nodes’ labels, in order of preference',
    MAX_SHARED_RESOURCES,
    sharedResource,
  ),
  rules: list(
    'for pods without annotation penstock.dev/slice, tried in order: the first that matches holds',
    MAX_RULES,
    rule,
  ),
  delivery,
  tolerations: list('added to sliced pods that lack them', MAX_TOLERATIONS, toleration),
  nodeRequirements: list(
    'added to the required node affinity of sliced pods',
    MAX_REQUIREMENTS,
    requirement('one requirement', ['In', 'NotIn', 'Exists', 'DoesNotExist', 'Gt', 'Lt']),
  ),
});
