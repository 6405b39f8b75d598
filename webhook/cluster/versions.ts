// SPDX-License-Identifier: Apache-2.0
import { isObject } from '#base/json.ts';

/** The part of a version that features go by. */
export interface Version {
  readonly major: number;
  readonly minor: number;
}

export interface Runtime extends Version {
  readonly name: string;
}

export function atLeast({ major, minor }: Version, wanted: Version): boolean {
  return major > wanted.major || (major === wanted.major && minor >= wanted.minor);
}

export function printed({ major, minor }: Version): string {
  return `${major}.${minor}`;
}

/** `v1.35.2-gke.100` */
export function parseVersion(text: string): Version | undefined {
  const [, major, minor] = /^v?(\d{1,4})\.(\d{1,4})/.exec(text) ?? [];
  return major === undefined ? undefined : { major: Number(major), minor: Number(minor) };
}

/** `containerd://2.1.4-k3s1`, as a node's status has it. */
export function parseRuntime(text: string): Runtime | undefined {
  const [, name = '', version = ''] = /^([a-z-]{1,32}):\/\/(.{1,64})$/.exec(text) ?? [];
  const parsed = parseVersion(version);
  return parsed && { name, ...parsed };
}

/** Answer of `/version`. A server that emulates an older one (KEP-4330) has that one's features; providers write minors such as `35+`. */
export function parseServerVersion(answer: unknown): Version | undefined {
  if (!isObject(answer)) return undefined;
  const { emulationMajor, emulationMinor, major, minor } = answer;
  const emulated = parseVersion(`${String(emulationMajor)}.${String(emulationMinor)}`);
  return emulated ?? parseVersion(`${String(major)}.${String(minor)}`);
}
