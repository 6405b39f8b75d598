// SPDX-License-Identifier: Apache-2.0
import { DEFAULT_TIMEOUT_MS, MARGIN_MS, MARGIN_PART, MAX_TIMEOUT_MS, MIN_DEADLINE_MS } from './limits.ts';

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};
const DURATION = /^(?:\d+(?:\.\d*)?(?:ns|us|µs|μs|ms|s|m|h)){1,6}$/;
const PART = /(\d+(?:\.\d*)?)(ns|us|µs|μs|ms|s|m|h)/g;
/** Longest text that is looked at as a duration. */
const MAX_DURATION_CHARS = 64;

/** A Go duration such as `3s` or `1m0.5s` in milliseconds; undefined when it is none. */
export function parseGoDuration(text: string): number | undefined {
  if (text.length > MAX_DURATION_CHARS || !DURATION.test(text)) return undefined;
  let ms = 0;
  for (const [, number = '', unit = ''] of text.matchAll(PART)) ms += Number(number) * (UNIT_MS[unit] ?? 0);
  return ms;
}

/** An API server states the same few times again and again: those of the configurations, in the same queries. */
const MAX_REMEMBERED = 16;

/** {@link deadlineOf} that remembers what it was asked last. */
export function deadlines(): (url: string) => number {
  const known = new Map<string, number>();
  return (url) => {
    const found = known.get(url);
    if (found !== undefined) return found;
    const deadline = deadlineOf(url);
    if (known.size >= MAX_REMEMBERED) known.clear();
    known.set(url, deadline);
    return deadline;
  };
}

/**
 * Milliseconds within which a review must be answered. The API server states its own limit in the query (`?timeout=3s`); what it states
 * badly or not at all counts as its default.
 */
export function deadlineOf(url: string): number {
  const stated = statedTimeout(url);
  const timeout = Math.min(stated === undefined || stated <= 0 ? DEFAULT_TIMEOUT_MS : stated, MAX_TIMEOUT_MS);
  return Math.max(MIN_DEADLINE_MS, timeout - Math.max(MARGIN_MS, timeout * MARGIN_PART));
}

function statedTimeout(url: string): number | undefined {
  const query = url.indexOf('?');
  if (query < 0) return undefined;
  const at = url.indexOf('timeout=', query);
  if (at < 0 || (url[at - 1] !== '?' && url[at - 1] !== '&')) return undefined;
  const end = url.indexOf('&', at);
  return parseGoDuration(decoded(url.slice(at + 'timeout='.length, end < 0 ? undefined : end)));
}

function decoded(text: string): string {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}
