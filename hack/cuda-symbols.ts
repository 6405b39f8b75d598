#!/usr/bin/env -S hack/node
// SPDX-License-Identifier: Apache-2.0
// cuda-symbols FOLDER...: writes native/cuda/symbols.txt from the headers of the vendor's packages, oldest folder first. Run by hand when a
// CUDA release brings new entry points:
//   pip download --no-deps nvidia-cuda-runtime-cu12 nvidia-cuda-runtime && unzip …
//   hack/node hack/cuda-symbols.ts <unpacked 12>/nvidia/cuda_runtime/include <unpacked 13>/nvidia/cu13/include
// Only facts are kept (names, versions of introduction, which variant is which export); no text of a header is copied.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface Facts {
  /** Exported functions as declared, without the per-thread variants. */
  readonly declared: Set<string>;
  /** Exported per-thread variants: cuMemcpyHtoD_v2_ptds. */
  readonly perThread: Set<string>;
  /** Base name, version of introduction and stream suffix of each variant that an entry-point look-up can ask for. */
  readonly variants: Map<string, { base: string; version: number; stream: string }>;
}

interface Line {
  readonly base: string;
  readonly version: number;
  readonly stream: string;
  readonly symbol: string;
}

function read(folders: readonly string[]): Facts {
  const facts: Facts = { declared: new Set(), perThread: new Set(), variants: new Map() };
  const add = (name: string) => (/_pt(sz|ds)$/.test(name) ? facts.perThread : facts.declared).add(name);
  for (const folder of folders) {
    for (const file of readdirSync(folder).filter((name) => /^cuda([A-Z]\w*)?\.h$/.test(name))) {
      const text = readFileSync(join(folder, file), 'utf8');
      for (const [, name = ''] of text.matchAll(/\bCUresult\s+CUDAAPI\s+(cu[A-Z]\w*)\s*\(/g)) add(name);
      for (const [, name = ''] of text.matchAll(/#define\s+cu[A-Z]\w*\s+(cu[A-Z]\w*)/g)) add(name);
      for (const [, kind = '', name = ''] of text.matchAll(/__CUDA_API_(PTDS|PTSZ)\((cu[A-Z]\w*)\)/g)) {
        facts.perThread.add(`${name}_${kind.toLowerCase()}`);
      }
      for (const [, base = '', version = '', stream = ''] of text.matchAll(
        /\*\s*PFN_(cu[A-Z]\w*?)_v(\d{4,5})(?:_(ptsz|ptds))?\s*\)/g,
      )) {
        facts.variants.set(`${base} ${version} ${stream}`, { base, version: Number(version), stream: stream || '-' });
      }
    }
  }
  return facts;
}

/** The n-th variant of a base is exported as base, base_v2, base_v3, …; a name without a bare or _v2 export starts later. */
function exportsOf(base: string, stream: string, facts: Facts): string[] {
  const suffix = stream === '-' ? '' : `_${stream}`;
  const known = stream === '-' ? facts.declared : facts.perThread;
  return ['', '_v2', '_v3', '_v4', '_v5'].map((v) => `${base}${v}${suffix}`).filter((name) => known.has(name));
}

function lines(facts: Facts): Line[] {
  const out: Line[] = [];
  const groups = Map.groupBy(facts.variants.values(), (variant) => `${variant.base} ${variant.stream}`);
  for (const group of groups.values()) {
    const sorted = group.toSorted((a, b) => a.version - b.version);
    const { base, stream } = sorted[0] as Line;
    const found = exportsOf(base, stream, facts);
    const names = found.length === 0 && sorted.length === 1 ? [base] : found;
    if (sorted.length !== names.length) throw new Error(`${base}: ${sorted.length} versions, exports ${names.join()}`);
    for (const [index, { version }] of sorted.entries())
      out.push({ base, version, stream, symbol: names[index] ?? base });
  }
  const named = new Set(out.map((line) => line.symbol));
  for (const symbol of [...facts.declared, ...facts.perThread].filter((name) => !named.has(name))) {
    out.push({ base: '-', version: 0, stream: '-', symbol });
  }
  return out.toSorted((a, b) => (a.symbol < b.symbol ? -1 : a.symbol > b.symbol ? 1 : a.version - b.version));
}

if (import.meta.main) {
  const folders = process.argv.slice(2);
  if (folders.length === 0)
    throw new Error('usage: cuda-symbols FOLDER... (the include folders of the unpacked wheels)');
  const all = lines(read(folders));
  const head = [
    '# SPDX-License-Identifier: Apache-2.0',
    '# Made by hack/cuda-symbols.ts. DO NOT EDIT.',
    '# Entry points of the CUDA driver API: exported symbol, look-up name, version that introduced this variant, stream flavour.',
  ];
  const text = all.map(({ symbol, base, version, stream }) => `${symbol} ${base} ${version} ${stream}`);
  writeFileSync(new URL('../native/cuda/symbols.txt', import.meta.url), [...head, ...text, ''].join('\n'));
  console.error(`${all.length} lines, ${new Set(all.map((line) => line.symbol)).size} symbols`);
}
