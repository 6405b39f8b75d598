// SPDX-License-Identifier: Apache-2.0
import { registerHooks } from 'node:module';
import { MUTATIONS } from './mutations.ts';

/**
 * Plants a bug: from here on the named file of the product is loaded with one piece of its text replaced. The product knows nothing of it.
 * @throws Error when there is no such mutation; loading the file fails when the text is not there exactly once
 */
export function plant(name: string): void {
  const mutation = MUTATIONS.find((one) => one.name === name);
  if (mutation === undefined)
    throw new Error(`no mutation ${name}; there are ${MUTATIONS.map((one) => one.name).join(', ')}`);
  const { file, from, to } = mutation;
  registerHooks({
    load: (url, context, nextLoad) => {
      const loaded = nextLoad(url, context);
      if (!url.endsWith(`/${file}`)) return loaded;
      const parts = Buffer.from(loaded.source as Uint8Array)
        .toString()
        .split(from);
      if (parts.length !== 2)
        throw new Error(`mutation ${name}: its text is ${parts.length - 1} times in ${file}, not once`);
      return { ...loaded, source: parts.join(to) };
    },
  });
}
