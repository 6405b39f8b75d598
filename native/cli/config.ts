// SPDX-License-Identifier: Apache-2.0
import { userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import type { ConfigSchema } from '#base/config.ts';
import { VramError } from './errors.ts';

export interface VramConfig {
  readonly vramStateDir: string;
  readonly vramLibDir: string;
  readonly vramTtl: string;
}

const DEFAULT_TTL = '1h';

/** What docs/configuration.md says of these. Three words need no loader: penstock-vram works in a clone without any packages. */
export const VRAM_SCHEMA: ConfigSchema<VramConfig> = {
  type: 'object',
  additionalProperties: false,
  required: [],
  properties: {
    vramStateDir: {
      type: 'string',
      default: '',
      description: "folder of the user's sessions; '' = `penstock/vram` in `XDG_STATE_HOME`, or in `~/.local/state`",
    },
    vramLibDir: {
      type: 'string',
      default: '',
      description: "folder of libpenstock_vram.so; '' = `dist/native/lib` of this installation",
    },
    vramTtl: {
      type: 'string',
      default: DEFAULT_TTL,
      description: 'how long a session is kept that no process uses: 90s, 15m, 2h, 7d',
    },
  },
};

const BUILT_OBJECTS = resolve(import.meta.dirname, '../../dist/native/lib');
/** The loader splits LD_PRELOAD at blanks and colons, and puts in other text behind a dollar sign. */
const UNUSABLE = /[\s:;$\p{Cc}]/u;

export interface Places {
  readonly stateDir: string;
  readonly libDir: string;
  readonly ttl: string;
}

/** @throws VramError `usage` or `unusable-path`; ConfigError naming the setting */
export function placesOf(
  env: Readonly<Record<string, string | undefined>>,
  flags: { readonly stateDir?: string | undefined; readonly libDir?: string | undefined },
): Places {
  const config: VramConfig = {
    vramStateDir: flags.stateDir ?? env['PENSTOCK_VRAM_STATE_DIR'] ?? '',
    vramLibDir: flags.libDir ?? env['PENSTOCK_VRAM_LIB_DIR'] ?? '',
    vramTtl: env['PENSTOCK_VRAM_TTL'] ?? DEFAULT_TTL,
  };
  if (flags.stateDir === undefined && config.vramStateDir !== '' && !config.vramStateDir.startsWith('/'))
    throw new VramError(
      'usage',
      `PENSTOCK_VRAM_STATE_DIR: ${JSON.stringify(config.vramStateDir)} is not an absolute path`,
      {
        fix: 'a relative one would be another folder in each place: write it from the root on',
      },
    );
  const stateDir = resolve(config.vramStateDir || defaultStateDir(env));
  if (UNUSABLE.test(stateDir))
    throw new VramError('unusable-path', `the loader cannot take objects from ${JSON.stringify(stateDir)}`, {
      fix: 'choose a folder without blanks, colons, semicolons and dollar signs by --state-dir or PENSTOCK_VRAM_STATE_DIR',
    });
  return { stateDir, libDir: resolve(config.vramLibDir || BUILT_OBJECTS), ttl: config.vramTtl };
}

function defaultStateDir(env: Readonly<Record<string, string | undefined>>): string {
  // The XDG specification: a path that is not absolute is to be ignored.
  if (env['XDG_STATE_HOME']?.startsWith('/') === true) return join(env['XDG_STATE_HOME'], 'penstock/vram');
  const home = env['HOME'] || homeOfUser();
  if (home.startsWith('/')) return join(home, '.local/state/penstock/vram');
  throw new VramError('usage', 'neither HOME nor XDG_STATE_HOME is set, and this user has no home', {
    fix: 'name a folder by --state-dir or PENSTOCK_VRAM_STATE_DIR',
  });
}

/** As the user database has it: services and cleaned environments have no HOME. */
function homeOfUser(): string {
  try {
    return userInfo().homedir;
  } catch {
    return '';
  }
}
