#!/usr/bin/env -S hack/node
// SPDX-License-Identifier: Apache-2.0
// nvml-symbols HEADER...: writes native/nvml/symbols.txt from nvml.h of the vendor's packages. Run by hand when a release brings new
// entry points:
//   pip download --no-deps nvidia-nvml-dev-cu12 nvidia-nvml-dev && unzip …
//   hack/node hack/nvml-symbols.ts <each unpacked nvml.h>
// Only names are kept; no text of a header is copied.
import { readFileSync, writeFileSync } from 'node:fs';

/** Exported but in no header: nvidia-smi begins with it. */
const unlisted = ['nvmlInternalGetExportTable'];

const names = new Set(unlisted);
for (const file of process.argv.slice(2)) {
  const text = readFileSync(file, 'utf8');
  for (const [, name = ''] of text.matchAll(/\bDECLDIR\s+(?:char\s*\*\s*)?(nvml[A-Z]\w*)\s*\(/g)) names.add(name);
  // The headers' renames: nvmlInit is exported beside the nvmlInit_v2 that new programs get.
  for (const [, old = '', name = ''] of text.matchAll(/^#define\s+(nvml[A-Z]\w*)\s+(nvml[A-Z]\w*_v\d+)\s*$/gm)) {
    names.add(old).add(name);
  }
}
const lines = [...names].filter((name) => !name.endsWith('_t')).toSorted();
const head = [
  '# SPDX-License-Identifier: Apache-2.0',
  '# Made by hack/nvml-symbols.ts. DO NOT EDIT.',
  '# Exported functions of NVML.',
];
writeFileSync(new URL('../native/nvml/symbols.txt', import.meta.url), `${[...head, ...lines].join('\n')}\n`);
process.stdout.write(`${String(lines.length)} names\n`);
