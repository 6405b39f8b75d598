// SPDX-License-Identifier: Apache-2.0
import { storeError } from './errors.ts';
import { LAYOUT_VERSION } from './keys.ts';

const LAYOUT_NAME = 'penstock-objects';

/** Bytes of the marker object that a fresh store gets. */
export const LAYOUT_MARKER = `${JSON.stringify({ layout: LAYOUT_NAME, version: LAYOUT_VERSION })}\n`;
/** A marker is a line; whatever is longer is none. */
export const LAYOUT_MARKER_MAX_BYTES = 1024;

/** @throws StoreError `layout` unless the marker is that of the layout this program reads and writes. */
export function checkLayout(marker: string, where: string): void {
  const found = parse(marker);
  if (found.layout === LAYOUT_NAME && found.version === LAYOUT_VERSION) return;
  const seen = JSON.stringify(marker.slice(0, 120));
  throw storeError(
    'layout',
    `${where} has layout ${seen}, this program knows version ${LAYOUT_VERSION} of ${LAYOUT_NAME}`,
    {
      fix: 'start the version of Penstock that wrote it, or point to an empty place',
    },
  );
}

function parse(marker: string): { layout?: unknown; version?: unknown } {
  try {
    const value: unknown = JSON.parse(marker);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}
