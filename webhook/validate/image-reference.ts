// SPDX-License-Identifier: Apache-2.0

/** Where an image lies, as container runtimes read it. */
export interface ImageReference {
  /** Registry and repository: `docker.io/library/busybox`. */
  readonly parts: readonly string[];
  readonly tag?: string;
  readonly digest?: string;
}

const HUB = 'docker.io';
/** The same registry by its own name and by others. */
const HUBS: readonly string[] = [HUB, 'index.docker.io', 'registry-1.docker.io'];
/** Of registry and repository together (distribution's grammar of references). */
const MAX_NAME = 255;
const HOST = /^(?:[a-zA-Z0-9.-]+|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/;
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^[a-zA-Z][a-zA-Z0-9]*(?:[-_+.][a-zA-Z][a-zA-Z0-9]*)*:[a-fA-F0-9]{32,}$/;
/** What runtimes take for the id of an image that the node has, wherever it came from. */
const IMAGE_ID = /^(?:sha256:)?[a-f0-9]{64}$/;

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

/** Whether a runtime reads the text as a name in a registry, and so as {@link parseImage} does. */
export function isImageReference(text: string): boolean {
  const { parts, tag, digest } = parseImage(text);
  const [host = '', ...path] = parts;
  return (
    !IMAGE_ID.test(text) &&
    parts.join('/').length <= MAX_NAME &&
    HOST.test(host) &&
    path.every((part) => COMPONENT.test(part)) &&
    (tag === undefined || TAG.test(tag)) &&
    (digest === undefined || DIGEST.test(digest))
  );
}

/** Whether nothing pins what the name means: no digest, and no tag or `latest`. */
export function isFloating({ tag, digest }: ImageReference): boolean {
  return digest === undefined && (tag ?? 'latest') === 'latest';
}

function inFull(parts: readonly string[]): string[] {
  const [first = '', ...rest] = parts;
  // A pattern for everything stays one.
  if (first === '**') return [first];
  // No part of a repository has an upper-case letter, so runtimes take such a first part for a host.
  const isHost = /[.:*]/.test(first) || first === 'localhost' || first !== first.toLowerCase();
  if (rest.length === 0 || !isHost) return onHub(parts);
  return HUBS.includes(first) ? onHub(rest) : [first, ...rest];
}

/** `docker.io/busybox` is `docker.io/library/busybox`. */
function onHub(path: readonly string[]): string[] {
  return path.length === 1 && path[0] !== '**' ? [HUB, 'library', ...path] : [HUB, ...path];
}
