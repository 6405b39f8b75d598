// SPDX-License-Identifier: Apache-2.0
import { element, isRecord, member } from './field-error.ts';
import type { InferenceApp } from './inference-app.gen.ts';
import { POD_TEMPLATE } from './pod-template.ts';

export interface UnitImage {
  /** `spec.worker.image` */
  readonly path: string;
  readonly image: string;
}

/** Every image that an app's units run or mount. */
export function unitImages({ worker, placements = [] }: InferenceApp['spec']): UnitImage[] {
  const spec = worker.podTemplate?.['spec'];
  return [
    ...image(worker.image, 'spec.worker.image'),
    ...placements.flatMap(({ overrides }, index) =>
      image(overrides?.image, `${element('spec.placements', index)}.overrides.image`),
    ),
    ...(isRecord(spec) ? templateImages(spec, member(POD_TEMPLATE, 'spec')) : []),
  ];
}

function templateImages(spec: Readonly<Record<string, unknown>>, path: string): UnitImage[] {
  const containers = ['initContainers', 'containers'].flatMap((list) =>
    items(spec[list]).flatMap((item, index) => image(item['image'], `${element(member(path, list), index)}.image`)),
  );
  const volumes = items(spec['volumes']).flatMap((item, index) => {
    const source = item['image'];
    const at = `${element(member(path, 'volumes'), index)}.image.reference`;
    return isRecord(source) ? image(source['reference'], at) : [];
  });
  return [...containers, ...volumes];
}

function image(value: unknown, path: string): UnitImage[] {
  return typeof value === 'string' && value !== '' ? [{ path, image: value }] : [];
}

/** Of a list, with empty objects in place of what is none, so that indexes stay those of the document. */
function items(list: unknown): Readonly<Record<string, unknown>>[] {
  return Array.isArray(list) ? list.map((item: unknown) => (isRecord(item) ? item : {})) : [];
}
