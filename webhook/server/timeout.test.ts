// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { MIN_DEADLINE_MS } from './limits.ts';
import { deadlineOf, deadlines, parseGoDuration } from './timeout.ts';

describe('a Go duration', () => {
  it.each([
    ['3s', 3_000],
    ['1m0s', 60_000],
    ['1h1m1.5s', 3_661_500],
    ['250ms', 250],
    ['1µs', 0.001],
    ['0s', 0],
    ['', undefined],
    ['3', undefined],
    ['s', undefined],
    ['-3s', undefined],
    ['3 s', undefined],
    ['3s ', undefined],
    ['1d', undefined],
    ['1h'.repeat(40), undefined],
    [`${'9'.repeat(70)}s`, undefined],
  ])('%s', (text, ms) => {
    expect(parseGoDuration(text)).toBe(ms);
  });
});

describe('the deadline of a call', () => {
  it.each([
    ['/mutate/pods?timeout=3s', 2_700],
    ['/mutate/pods?timeout=5s', 4_500],
    ['/mutate/pods?timeout=1s', 700],
    ['/mutate/pods?a=b&timeout=2s&c=d', 1_700],
    ['/mutate/pods?timeout=2%73', 1_700],
    ['/mutate/pods?timeout=300s', 27_000],
    ['/mutate/pods?timeout=0s', 9_000],
    ['/mutate/pods?mytimeout=3s', 9_000],
    ['/mutate/pods', 9_000],
    ['/timeout=3s', 9_000],
    ['/mutate/pods?timeout=100ms', MIN_DEADLINE_MS],
  ])('%s', (url, ms) => {
    expect(deadlineOf(url)).toBe(ms);
  });

  it('is the same when it is asked for again, however many others were asked for meanwhile', () => {
    const of = deadlines();
    for (let s = 1; s <= 100; s++) expect(of(`/x?timeout=${s}m`)).toBe(27_000);
    expect(of('/x?timeout=3s')).toBe(2_700);
    expect(of('/x?timeout=3s')).toBe(2_700);
  });
});
