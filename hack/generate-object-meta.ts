// SPDX-License-Identifier: Apache-2.0

const text = { type: 'string' } as const;
const truth = { type: 'boolean' } as const;
const texts = { type: 'object', additionalProperties: text } as const;

/**
 * ObjectMeta as far as a person may write it. A CRD can't describe it, so the API server's own rules are repeated here;
 * label and annotation syntax is checked by crds/metadata.ts.
 */
export const OBJECT_META = {
  type: 'object',
  required: ['name'],
  properties: {
    generateName: { type: 'string', maxLength: 63 },
    namespace: {
      type: 'string',
      maxLength: 63,
      pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$',
      description: 'Name of a namespace: a DNS label.',
    },
    labels: texts,
    annotations: texts,
    finalizers: { type: 'array', items: text },
    ownerReferences: {
      type: 'array',
      items: {
        type: 'object',
        required: ['apiVersion', 'kind', 'name', 'uid'],
        properties: {
          apiVersion: text,
          kind: text,
          name: text,
          uid: text,
          controller: truth,
          blockOwnerDeletion: truth,
        },
      },
    },
    uid: text,
    resourceVersion: text,
    selfLink: text,
    creationTimestamp: text,
    deletionTimestamp: text,
    generation: { type: 'integer' },
    deletionGracePeriodSeconds: { type: 'integer' },
    managedFields: { type: 'array' },
  },
} as const;

/** Shape of metadata: its members are known, what is below them is not looked into, owner references excepted. */
export function metadataShape(): object {
  const references = Object.keys(OBJECT_META.properties.ownerReferences.items.properties);
  const free = Object.keys(OBJECT_META.properties).map((field) => [field, { free: true }]);
  return {
    properties: {
      name: {},
      ...Object.fromEntries(free),
      ownerReferences: { items: { properties: Object.fromEntries(references.map((field) => [field, {}])) } },
    },
  };
}
