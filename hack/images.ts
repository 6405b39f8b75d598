// SPDX-License-Identifier: Apache-2.0
// images [NAME...]: builds the container images (all of them when none is named) to dist/images/NAME.tar. Equal sources
// and an equal machine give equal bytes; images that run on Node share its layer.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { bundle, flatName } from './bundle.ts';
import { imageUser, packImage, readFolder } from './image.ts';
import { closure } from './ldd.ts';
import type { TarEntry } from './tar.ts';

interface ImageRecipe {
  readonly what: string;
  readonly entrypoint: readonly string[];
  /** Working directory; default /tmp. */
  readonly workdir?: string;
  readonly layers: () => Promise<TarEntry[][]>;
}

const root = fileURLToPath(new URL('..', import.meta.url));
const out = join(root, 'dist/images');
const node = '/usr/local/bin/node';
const caFile = 'etc/ssl/certs/ca-certificates.crt';

/** One of our own programs: its bundle in /app on top of Node. */
function program(what: string, main: string): ImageRecipe {
  return {
    what,
    entrypoint: [node, `/app/${flatName(main)}`],
    layers: async () => [base(), nodeLayer(), await bundle(root, main, 'app')],
  };
}

/** A program of this machine with its libraries. */
function system(what: string, entrypoint: string, programs: () => TarEntry[]): ImageRecipe {
  return { what, entrypoint: [entrypoint], layers: async () => [base(), programs()] };
}

const images: Readonly<Record<string, ImageRecipe>> = {
  operator: program('controllers for InferenceApp and Placement', 'operator/main.ts'),
  gateway: program('client API, worker broker and queue', 'gateway/main.ts'),
  webhook: program('admission server: slices for pods, checks of apps and placements', 'webhook/main.ts'),
  worker: program('the unit: lease loop, handler hosts, adapter of model servers', 'worker-runtime/main.ts'),
  'sample-handler': {
    ...program('the handlers of the samples on top of the unit, as a user would build it', 'worker-runtime/main.ts'),
    layers: async () => [
      base(),
      nodeLayer(),
      await bundle(root, 'worker-runtime/main.ts', 'app'),
      [
        ...folder('config/samples/handlers', 'srv/handlers'),
        { kind: 'file', path: 'srv/package.json', source: Buffer.from('{ "type": "module" }\n') },
      ],
    ],
    workdir: '/srv',
  },
  'sample-sidecar': {
    what: 'a plain HTTP server that knows nothing of Penstock, for the Sidecar sample',
    entrypoint: [node, '/app/server.js'],
    layers: async () => [base(), nodeLayer(), folder('config/samples/images/sample-sidecar', 'app')],
  },
  vram: {
    what: 'the objects of the VRAM quota, and a program that copies them: for an init container, or as an image volume',
    entrypoint: ['/install'],
    workdir: '/',
    layers: async () => [vramLayer()],
  },
  redis: system('Redis of this machine, for the local overlay', '/usr/bin/redis-server', () =>
    merge(closure(tool('redis-server'), 'usr/bin/redis-server'), closure(tool('redis-cli'), 'usr/bin/redis-cli')),
  ),
  minio: system('an S3 server, for the local overlay', '/usr/bin/minio', () =>
    closure(join(assets('minio'), 'minio'), 'usr/bin/minio'),
  ),
};

/** What every image has: users, name resolution, a /tmp to mount over, and the certificate authorities that Node ships. */
function base(): TarEntry[] {
  const text = (path: string, ...lines: string[]): TarEntry => ({
    kind: 'file',
    path,
    source: Buffer.from(`${lines.join('\n')}\n`),
  });
  const [uid, gid] = imageUser.split(':');
  return [
    text('etc/passwd', 'root:x:0:0:root:/:/sbin/nologin', `penstock:x:${uid}:${gid}:penstock:/tmp:/sbin/nologin`),
    text('etc/group', 'root:x:0:', `penstock:x:${gid}:`),
    text('etc/nsswitch.conf', 'passwd: files', 'group: files', 'hosts: files dns'),
    text(caFile, ...rootCertificates),
    { kind: 'dir', path: 'tmp', sticky: true },
  ];
}

/** The Node that runs this script: the one that hack/node chose. */
function nodeLayer(): TarEntry[] {
  return closure(process.execPath, node.slice(1));
}

/** They lie in the root: the image may be mounted as the folder from which they are preloaded. */
function vramLayer(): TarEntry[] {
  execFileSync('make', ['--no-print-directory', '-s', '-C', join(root, 'native'), 'libs', 'install'], {
    stdio: 'inherit',
  });
  const built = (path: string, source: string): TarEntry => {
    return { kind: 'file', path, source: join(root, 'dist/native', source), executable: true };
  };
  return [
    built('libpenstock_vram.so', 'lib/libpenstock_vram.so'),
    built('libpenstock_nvml.so', 'lib/libpenstock_nvml.so'),
    built('install', 'install/penstock-vram-install'),
  ];
}

function folder(path: string, target: string): TarEntry[] {
  const full = join(root, path);
  if (!existsSync(full)) return [];
  return readFolder(full).map((entry) => ({ ...entry, path: `${target}/${entry.path}` }));
}

function tool(name: string): string {
  try {
    return execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim();
  } catch {
    throw new Error(`${name} not found: apt-get install -y redis-server (or: hack/ensure images)`);
  }
}

function assets(what: string): string {
  return execFileSync(join(root, 'hack/kube/cluster'), ['bin', what], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
}

/** Two programs share libraries. */
function merge(...closures: TarEntry[][]): TarEntry[] {
  return [...new Map(closures.flat().map((entry) => [entry.path, entry])).values()];
}

async function buildImage(name: string): Promise<void> {
  const recipe = images[name];
  if (!recipe) throw new Error(`no image ${name}; there are ${Object.keys(images).join(', ')}`);
  const file = join(out, `${name}.tar`);
  const env = { HOME: '/tmp', SSL_CERT_FILE: `/${caFile}` };
  packImage(
    {
      name: `penstock/${name}:dev`,
      layers: await recipe.layers(),
      entrypoint: recipe.entrypoint,
      env,
      workdir: recipe.workdir ?? '/tmp',
    },
    file,
  );
  console.log(`penstock/${name}:dev  ${Math.round(statSync(file).size / 1e6)} MB  ${recipe.what}`);
}

/** For deploy/docker/Dockerfile: the files of one program of ours as plain files under `target`. */
async function writeBundle(main: string, target: string): Promise<void> {
  for (const entry of await bundle(root, main, 'app')) {
    if (entry.kind !== 'file') continue;
    const path = join(target, entry.path.slice('app/'.length));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, typeof entry.source === 'string' ? readFileSync(entry.source) : entry.source);
  }
}

async function main(args: readonly string[]): Promise<void> {
  const [first, program, target] = args;
  if (first === '--bundle') {
    if (program === undefined || target === undefined) throw new Error('usage: images --bundle MAIN.ts DIR');
    return writeBundle(program, target);
  }
  for (const name of args.length > 0 ? args : Object.keys(images)) await buildImage(name);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(`images: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
