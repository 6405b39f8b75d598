// SPDX-License-Identifier: Apache-2.0
// LD_PRELOAD of a sliced container. The kubelet takes the last entry of a name, puts `env` above `envFrom` and the image's ENV, and
// expands $(NAME) from entries before it.
import { FORMER_PRELOAD, PRELOADED } from './names.ts';
import type { Patch } from './patch.ts';
import type { Container, EnvVar } from './pod.ts';

const NAME = 'LD_PRELOAD';
const OURS = PRELOADED.join(':');
/** The loader separates by colon and by space, glibc's and musl's. */
const SEPARATOR = /[: ]/;

/** What cannot be known at admission, for people; the container's path is that of the pod as it came. */
export function preload(patch: Patch, path: string, container: Container): string | undefined {
  const env = container.env ?? [];
  const index = env.findLastIndex(({ name }) => name === NAME);
  const entry = env[index];
  if (entry === undefined) {
    patch.append(`${path}/env`, container.env, [{ name: NAME, value: OURS }]);
    return unknownSource(container);
  }
  if (entry.valueFrom !== undefined && entry.valueFrom !== null)
    return keepReference(patch, `${path}/env`, index, container);
  const value = entry.value ?? '';
  const loaded = value.split(SEPARATOR);
  // Whoever put something before ours may have it: what counts is that ours come before the driver, which is never preloaded.
  if (PRELOADED.every((file) => loaded.includes(file))) return undefined;
  const rest = loaded.some((file) => isOurs(file)) ? loaded.filter((file) => !isOurs(file)).join(':') : value;
  const wanted = rest === '' ? OURS : `${OURS}:${rest}`;
  if (entry.value === undefined) patch.add(`${path}/env/${index}/value`, wanted);
  else patch.replace(`${path}/env/${index}/value`, wanted);
  return undefined;
}

function isOurs(file: string): boolean {
  return PRELOADED.some((own) => own === file);
}

/** The value is the kubelet's to find: it keeps its source under another name, and is referred to. */
function keepReference(patch: Patch, path: string, index: number, { env = [] }: Container): string | undefined {
  const former = freeName(env);
  patch.replace(`${path}/${index}/name`, former);
  patch.add(`${path}/${index + 1}`, { name: NAME, value: `${OURS}:$(${former})` });
  return isOptional(env[index])
    ? 'where the optional source of its LD_PRELOAD is missing, the loader prints a line about it and goes on'
    : undefined;
}

function freeName(env: readonly EnvVar[]): string {
  const taken = new Set(env.map(({ name }) => name));
  let name = FORMER_PRELOAD;
  for (let number = 2; taken.has(name); number += 1) name = `${FORMER_PRELOAD}_${number}`;
  return name;
}

function isOptional(entry: EnvVar | undefined): boolean {
  return Object.values(entry?.valueFrom ?? {}).some((source) => isRecord(source) && source.optional === true);
}

/** A prefix that no LD_PRELOAD begins with rules it out. */
function unknownSource({ envFrom }: Container): string {
  const mayCome = envFrom?.some((source) => {
    const prefix = isRecord(source) ? source.prefix : undefined;
    return typeof prefix !== 'string' || NAME.startsWith(prefix);
  });
  return `an LD_PRELOAD set by ${mayCome ? 'envFrom or by the image' : 'the image'} is not kept; state it in env if the program needs it`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
