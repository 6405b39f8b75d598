// SPDX-License-Identifier: Apache-2.0
// JSON Schema of images.yaml. Each description says what to write: it is the fix of an error at that place.

/** Rules: a ConfigMap (1 MiB) is full before. */
const MAX_RULES = 1_000;
const MAX_ITEMS = 1_000;

const list = (items: object, description: string) => ({
  type: 'array',
  minItems: 1,
  maxItems: MAX_ITEMS,
  items,
  description,
});

export const IMAGES_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  required: ['version', 'rules'],
  description: 'write a mapping with version, rules and otherwise',
  properties: {
    version: { const: 1, description: 'write version: 1' },
    otherwise: {
      enum: ['Allow', 'Refuse'],
      description: 'write Allow or Refuse: what holds in namespaces that no rule names',
    },
    rules: {
      type: 'array',
      maxItems: MAX_RULES,
      description: `write a list of at most ${MAX_RULES} rules`,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['namespaces', 'images'],
        description: 'write a mapping with namespaces and images',
        properties: {
          namespaces: list(
            {
              type: 'string',
              maxLength: 63,
              pattern: '^[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?$',
              description: 'write the name of a namespace; one * stands for anything: team-*',
            },
            'write a list of names of namespaces',
          ),
          images: list(
            {
              type: 'string',
              minLength: 1,
              maxLength: 512,
              pattern: '^[a-zA-Z0-9*][a-zA-Z0-9._:/@*-]*$',
              description:
                'write registry/repository, with a tag or digest if need be; * stands for anything within a part, /** at the end for any parts',
            },
            'write a list of images',
          ),
        },
      },
    },
  },
};
