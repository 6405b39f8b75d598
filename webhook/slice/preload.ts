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
const REFERS = new RegExp(`^\\$\\((${FORMER_PRELOAD}(?:_\\d+)?)\\)$`);
/** Names in a warning; who has more containers knows what is meant. */
const MAX_NAMED = 4;

/** Where an LD_PRELOAD may come from that cannot be seen at admission. */
export interface UnknownSource {
  readonly container: string;
  readonly envFrom: boolean;
}

/** What is not known, and will not be kept; the container's path is that of the pod as it came. */
export function preload(patch: Patch, path: string, container: Container): UnknownSource | undefined {
  const env = container.env ?? [];
  const index = env.findLastIndex(({ name }) => name === NAME);
  const entry = env[index];
  if (entry === undefined) {
    patch.append(`${path}/env`, container.env, [{ name: NAME, value: OURS }]);
    return { container: container.name, envFrom: mayComeFromElsewhere(container) };
  }
  if (entry.valueFrom !== undefined && entry.valueFrom !== null) {
    keepReference(patch, `${path}/env`, index, env);
    return undefined;
  }
  const value = entry.value ?? '';
  const loaded = value.split(SEPARATOR);
  // Whoever put something before ours may have it: what counts is that ours come before the driver, which is never preloaded.
  if (PRELOADED.every((file) => loaded.includes(file))) return undefined;
  const rest = withoutOurs(value);
  const wanted = rest === '' ? OURS : `${OURS}:${rest}`;
  if (entry.value === undefined) patch.add(`${path}/env/${index}/value`, wanted);
  else patch.replace(`${path}/env/${index}/value`, wanted);
  return undefined;
}

/** One sentence for all containers of the pod. */
export function unknownSources(sources: readonly UnknownSource[]): string[] {
  if (sources.length === 0) return [];
  const names = sources.slice(0, MAX_NAMED).map(({ container }) => container);
  const of =
    sources.length > names.length ? `${names.join(', ')} and ${sources.length - names.length} more` : names.join(', ');
  const where = sources.some(({ envFrom }) => envFrom) ? 'envFrom or the image sets' : 'the image sets';
  return [`${of}: if ${where} LD_PRELOAD, that is not kept; state it in env where the program needs it`];
}

/** Takes our part out again. */
export function unload(patch: Patch, path: string, { env = [] }: Container): void {
  const index = env.findLastIndex(({ name }) => name === NAME);
  const value = env[index]?.value ?? '';
  if (!value.split(SEPARATOR).some((file) => isOurs(file))) return;
  const rest = withoutOurs(value);
  const former = REFERS.exec(rest)?.[1];
  if (former === undefined && rest !== '') {
    patch.replace(`${path}/env/${index}/value`, rest);
    return;
  }
  patch.remove(`${path}/env/${index}`);
  const source = former === undefined ? -1 : env.findLastIndex(({ name }, at) => name === former && at < index);
  if (source < 0) return;
  patch.replace(`${path}/env/${source}/name`, NAME);
  const before = env[source - 1];
  if (before?.name === former && before?.value === '') patch.remove(`${path}/env/${source - 1}`);
}

function withoutOurs(value: string): string {
  const rest = value.startsWith(OURS) ? value.slice(OURS.length).replace(/^:/, '') : value;
  const files = rest.split(SEPARATOR);
  return files.some((file) => isOurs(file)) ? files.filter((file) => !isOurs(file)).join(':') : rest;
}

function isOurs(file: string): boolean {
  return PRELOADED.some((own) => own === file);
}

/** The value is the kubelet's to find: it keeps its source under another name, and is referred to. */
function keepReference(patch: Patch, path: string, index: number, env: readonly EnvVar[]): void {
  const former = freeName(env);
  patch.replace(`${path}/${index}/name`, former);
  // Where an optional source is missing the reference would stay as text, and the loader complain about it: it finds nothing then.
  const optional = isOptional(env[index]);
  if (optional) patch.add(`${path}/${index}`, { name: former, value: '' });
  patch.add(`${path}/${index + (optional ? 2 : 1)}`, { name: NAME, value: `${OURS}:$(${former})` });
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
function mayComeFromElsewhere({ envFrom }: Container): boolean {
  return (
    envFrom?.some((source) => {
      const prefix = isRecord(source) ? source.prefix : undefined;
      return typeof prefix !== 'string' || NAME.startsWith(prefix);
    }) ?? false
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
