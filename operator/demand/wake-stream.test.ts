// SPDX-License-Identifier: Apache-2.0
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { readWakeUps } from './wake-stream.ts';

const never = new AbortController().signal;

describe('readWakeUps', () => {
  it('gives up a stream on which not even a heartbeat comes', async () => {
    const stream = new PassThrough();
    await expect(readWakeUps(stream, () => {}, never, 20)).rejects.toThrow(/silent for 20 ms/);
    expect(stream.destroyed).toBe(true);
  });

  it('refuses a wake-up that names no app', async () => {
    const stream = new PassThrough();
    stream.end('event: wake\ndata: {"uid":"x"}\n\n');
    await expect(readWakeUps(stream, () => {}, never)).rejects.toThrow(/names no app/);
  });

  it('tells of a connection that broke', async () => {
    const stream = new PassThrough();
    const ended = readWakeUps(stream, () => {}, never);
    stream.destroy(new Error('socket hang up'));
    await expect(ended).rejects.toThrow('socket hang up');
  });
});
