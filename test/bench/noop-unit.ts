// SPDX-License-Identifier: Apache-2.0
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UNIT_ENV } from '#base/wire/unit-env.ts';
import { startProgram } from './child.ts';
import type { BenchChild } from './child.ts';
import type { GatewayServer } from './gateway-server.ts';

/** Does nothing but say when it was called, in Unix ms with a fraction. */
const HANDLER = `export const predict = (batch) => {
  const at = performance.timeOrigin + performance.now();
  return batch.map(() => ({ at }));
};
`;

/** The product's worker process with a handler that does nothing, ready to lease. */
export async function startNoopUnit(
  { internalUrl, mintUnitToken }: GatewayServer,
  folder: string,
  { concurrency, batchSize }: { readonly concurrency: number; readonly batchSize: number },
): Promise<BenchChild> {
  writeFileSync(join(folder, 'noop.ts'), HANDLER);
  writeFileSync(join(folder, 'token'), await mintUnitToken('noop-1'), { mode: 0o600 });
  return await startProgram({
    main: 'worker-runtime/main.ts',
    cwd: folder,
    env: {
      [UNIT_ENV.brokerUrl]: internalUrl,
      [UNIT_ENV.unitTokenFile]: 'token',
      [UNIT_ENV.archetype]: 'Handler',
      [UNIT_ENV.handler]: 'noop.ts',
      [UNIT_ENV.concurrency]: String(concurrency),
      [UNIT_ENV.batchSize]: String(batchSize),
      [UNIT_ENV.readyFile]: 'ready',
    },
    ready: () => existsSync(join(folder, 'ready')),
  });
}
