// SPDX-License-Identifier: Apache-2.0
// image NAME DIR OUT.tar [ENTRYPOINT...]: packs a folder as a container image, without Docker and without a registry.
// The result is a docker-archive: `ctr images import`, `docker load`, `podman load` and `kind load image-archive` take it.
import { createHash } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { writeTar, type TarEntry } from './tar.ts';

/** Numeric, so that the kubelet can see without looking into the image that it is not root (PodSecurity `restricted`). */
export const imageUser = '65532:65532';

export interface ImageSpec {
  /** A reference as in a pod's `image:`, for example `penstock/gateway:dev`. */
  readonly name: string;
  /** Lowest first. Equal layers of two images are stored once on a node. */
  readonly layers: readonly (readonly TarEntry[])[];
  readonly entrypoint: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly workdir?: string;
  readonly user?: string;
}

const architectures: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64', arm64: 'arm64' };
const nameRule = /^[a-z0-9][a-z0-9._/:-]{0,199}$/;
const defaultPath = '/usr/local/bin:/usr/bin:/bin';

/** Writes `out`; the same spec gives the same bytes. */
export function packImage(spec: ImageSpec, out: string): void {
  if (!nameRule.test(spec.name))
    throw new Error(`image: ${JSON.stringify(spec.name)} is no image name; use for example penstock/gateway:dev`);
  mkdirSync(dirname(out), { recursive: true });
  const work = mkdtempSync(join(dirname(out), '.image-'));
  try {
    const layers = spec.layers.map((entries, index) => {
      const path = join(work, `layer-${index}.tar`);
      return { name: `layer-${index}.tar`, path, digest: writeArchive(path, entries) };
    });
    const config = Buffer.from(
      JSON.stringify(
        imageConfig(
          spec,
          layers.map((layer) => layer.digest),
        ),
      ),
    );
    const configName = `${createHash('sha256').update(config).digest('hex')}.json`;
    const manifest = [{ Config: configName, RepoTags: [spec.name], Layers: layers.map((layer) => layer.name) }];
    writeArchive(out, [
      { kind: 'file', path: configName, source: config },
      ...layers.map((layer): TarEntry => ({ kind: 'file', path: layer.name, source: layer.path })),
      { kind: 'file', path: 'manifest.json', source: Buffer.from(JSON.stringify(manifest)) },
    ]);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function imageConfig(spec: ImageSpec, digests: string[]): object {
  const architecture = architectures[process.arch];
  if (architecture === undefined) throw new Error(`image: no images for ${process.arch}; build on x64 or arm64`);
  const env = { PATH: defaultPath, ...spec.env };
  return {
    architecture,
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: digests.map((digest) => `sha256:${digest}`) },
    config: {
      User: spec.user ?? imageUser,
      Entrypoint: spec.entrypoint.length > 0 ? spec.entrypoint : null,
      Env: Object.entries(env).map(([key, value]) => `${key}=${value}`),
      WorkingDir: spec.workdir ?? '/',
    },
  };
}

/** Writes a tar file and returns the SHA-256 of its bytes in hex. */
function writeArchive(path: string, entries: readonly TarEntry[]): string {
  const digest = createHash('sha256');
  const file = openSync(path, 'w');
  try {
    writeTar((chunk) => {
      digest.update(chunk);
      for (let at = 0; at < chunk.length;) at += writeSync(file, chunk, at);
    }, entries);
  } finally {
    closeSync(file);
  }
  return digest.digest('hex');
}

/** The entries of a folder. Modes are only "executable or not", so a person's umask leaves no trace in the image. */
export function readFolder(root: string, under = ''): TarEntry[] {
  return readdirSync(join(root, under), { withFileTypes: true }).flatMap((item): TarEntry[] => {
    const path = under === '' ? item.name : `${under}/${item.name}`;
    const full = join(root, path);
    if (item.isSymbolicLink()) return [{ kind: 'link', path, target: readlinkSync(full) }];
    const { mode } = statSync(full);
    if (item.isDirectory()) return [{ kind: 'dir', path, sticky: (mode & 0o1000) !== 0 }, ...readFolder(root, path)];
    if (item.isFile()) return [{ kind: 'file', path, source: full, executable: (mode & 0o111) !== 0 }];
    throw new Error(`image: ${full} is neither file, folder nor link`);
  });
}

function main(args: readonly string[]): number {
  const [name, folder, out, ...entrypoint] = args;
  if (name === undefined || folder === undefined || out === undefined) {
    console.error('usage: image NAME DIR OUT.tar [ENTRYPOINT...]');
    return 2;
  }
  packImage({ name, layers: [readFolder(folder)], entrypoint, user: process.env['IMAGE_USER'] ?? imageUser }, out);
  return 0;
}

if (import.meta.main) process.exitCode = main(process.argv.slice(2));
