// SPDX-License-Identifier: Apache-2.0

/** Where an image lies, as container runtimes read it. */
export interface ImageReference {
  /** Registry and repository: `docker.io/library/busybox`. */
  readonly parts: readonly string[];
  readonly tag?: string;
  readonly digest?: string;
}

const HUB = 'docker.io';
/** Other names of the same registry. */
const HUB_ALIASES: readonly string[] = ['index.docker.io', 'registry-1.docker.io'];

/** Reads `busybox`, `team/model:1`, `registry:5000/a/b@sha256:…`; short names are those of Docker Hub. */
export function parseImage(text: string): ImageReference {
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  const name = at < 0 ? text : text.slice(0, at);
  const colon = name.indexOf(':', name.lastIndexOf('/') + 1);
  const tag = colon < 0 ? undefined : name.slice(colon + 1);
  return {
    parts: inFull((colon < 0 ? name : name.slice(0, colon)).split('/')),
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** Whether nothing pins what the name means: no digest, and no tag or `latest`. */
export function isFloating({ tag, digest }: ImageReference): boolean {
  return digest === undefined && (tag ?? 'latest') === 'latest';
}

function inFull(parts: readonly string[]): string[] {
  const [first = '', ...rest] = parts;
  const isRegistry = rest.length > 0 && (/[.:*]/.test(first) || first === 'localhost');
  if (isRegistry) return [HUB_ALIASES.includes(first) ? HUB : first, ...rest];
  // A pattern for everything stays one.
  if (first === '**') return [first];
  return rest.length === 0 ? [HUB, 'library', first] : [HUB, ...parts];
}
