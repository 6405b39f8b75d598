// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** The project's own script; what it does is said at its head. */
export const clusterScript = fileURLToPath(new URL('../../hack/kube/cluster', import.meta.url));

const run = promisify(execFile);
/** Unpacking takes seconds, building the binaries from source about 8 minutes. */
const assetsTimeoutMs = 20 * 60_000;

/** The folder of the binaries, brought there first when it is empty. */
export async function kubeAssets(what: 'api' | 'node' | 'minio'): Promise<string> {
  const { stdout } = await run(clusterScript, ['bin', what], { timeout: assetsTimeoutMs });
  return stdout.trim();
}
