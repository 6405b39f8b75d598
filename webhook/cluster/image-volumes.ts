// SPDX-License-Identifier: Apache-2.0
// Where pods may mount images (KEP-4639): the API server must keep the field, the kubelet and its runtime must act on it.
import { atLeast, parseRuntime, parseVersion, printed } from './versions.ts';
import type { Version } from './versions.ts';

/** Feature gate ImageVolume: on by default from here, there but off from `beta`. */
const BY_DEFAULT: Version = { major: 1, minor: 35 };
const BETA: Version = { major: 1, minor: 33 };
/**
 * First releases that mount images so that code in them can be run. CRI-O knew image volumes before, but mounted them noexec
 * as the KEP wanted it until June 2025: the preloaded object could not be mapped, and the pod ran without its quota.
 */
const RUNTIMES: Readonly<Record<string, Version>> = {
  containerd: { major: 2, minor: 1 },
  'cri-o': { major: 1, minor: 35 },
};

export interface RuntimeNode {
  readonly metadata: { readonly name: string };
  /** `containerd://2.1.4` */
  readonly runtime: string;
  /** `v1.35.2` */
  readonly kubeletVersion: string;
}

export interface ImageVolumeVerdict {
  readonly supported: boolean;
  /** For people. */
  readonly why: string;
}

/**
 * Whether every pod on every GPU node can mount an image. An init container works everywhere, so any doubt means no.
 * @param server undefined: not known
 * @param beta 1.33 and 1.34 count too
 */
export function judgeImageVolumes(
  server: Version | undefined,
  nodes: readonly RuntimeNode[],
  beta: boolean,
): ImageVolumeVerdict {
  const no = (why: string): ImageVolumeVerdict => ({ supported: false, why });
  const wanted = beta ? BETA : BY_DEFAULT;
  if (server === undefined) return no('the version of the API server is not known');
  if (!atLeast(server, wanted))
    return no(`the API server is ${printed(server)}, image volumes need ${printed(wanted)}`);
  if (nodes.length === 0) return no('there is no GPU node yet, and what the next one can do is not known');
  for (const { metadata, kubeletVersion, runtime } of nodes) {
    const { name } = metadata;
    const kubelet = parseVersion(kubeletVersion);
    if (kubelet === undefined || !atLeast(kubelet, wanted)) {
      return no(
        `the kubelet of node ${name} is ${kubeletVersion || 'of an unknown version'}, image volumes need ${printed(wanted)}`,
      );
    }
    const found = parseRuntime(runtime);
    const least = found && Object.hasOwn(RUNTIMES, found.name) ? RUNTIMES[found.name] : undefined;
    if (found === undefined || least === undefined)
      return no(`what runtime ${runtime || '(none told)'} of node ${name} can do is not known`);
    if (!atLeast(found, least))
      return no(`node ${name} has ${runtime}, image volumes need ${found.name} ${printed(least)}`);
  }
  return {
    supported: true,
    why: `the API server is ${printed(server)}, and so are kubelets and runtimes of all ${nodes.length} GPU nodes`,
  };
}
