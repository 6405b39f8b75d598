// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { loadWebhookConfig } from './config.ts';

const read = (env: Readonly<Record<string, string>>) => loadWebhookConfig({ env });

describe('the image with the libraries', () => {
  it.each([
    'penstock/vram:dev',
    'registry.example:5000/penstock/vram@sha256:' + 'a'.repeat(64),
    'registry.example/penstock/vram:1.2',
  ])('may be %s', (image) => {
    expect(read({ PENSTOCK_VRAM_IMAGE: image }).vramImage).toBe(image);
  });

  it.each([
    'not a ref!!',
    'penstock/vram:',
    'https://registry.example/vram',
    'a'.repeat(64),
    'Penstock/Vram@x',
    ' vram',
  ])('is refused as %j, by the variable, for every pod with a slice would wait for it', (image) => {
    expect(() => read({ PENSTOCK_VRAM_IMAGE: image })).toThrow(
      /^configuration: vramImage: .* is no image reference, .*PENSTOCK_VRAM_IMAGE/,
    );
  });

  it('has to be given', () => {
    expect(() => read({})).toThrow('vramImage: is required');
  });
});
