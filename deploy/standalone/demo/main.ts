// SPDX-License-Identifier: Apache-2.0
// make demo: page images to text, through the product's standalone mode, from zero units and back to zero.
import { once } from 'node:events';
import { createWriteStream, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import type { Logger } from '#base/logger.ts';
import { createLogger } from '#base/logger.ts';
import { seededRandom } from '#base/random.ts';
import { loadStandaloneConfig } from '../config.ts';
import { startStandalone } from '../standalone.ts';
import { drawPages } from './pages.ts';
import { createScreen } from './screen.ts';
import { showDemo } from './story.ts';

/** As shells say it: 128 + SIGINT. */
const EXIT_INTERRUPTED = 130;

const root = fileURLToPath(new URL('../../../demo-out', import.meta.url));
const apps = fileURLToPath(new URL('./apps', import.meta.url));
const data = join(root, 'data');

const screen = createScreen(process.stdout);
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stop.abort(new Error(name)));
rmSync(root, { recursive: true, force: true });
mkdirSync(join(root, 'pages'), { recursive: true });

process.exitCode = await demo();
if (stop.signal.aborted) rmSync(root, { recursive: true, force: true });
// Polls that an interrupt left hanging must not keep the process.
process.exit();

async function demo(): Promise<number> {
  const logFile = createWriteStream(join(root, 'standalone.log'));
  const config = loadStandaloneConfig(['-f', apps, '--data', data, '--port', '0'], {});
  const standalone = await startStandalone(config, { logger: logTo(logFile), version: 'demo' });
  try {
    const pages = drawPages(seededRandom(7));
    for (const { name, png } of pages) writeFileSync(join(root, 'pages', `${name.replaceAll(' ', '-')}.png`), png);
    screen.line(`penstock standalone serves ${standalone.url}; the pages are in demo-out/pages`);
    // The interrupt first: of two that are settled the first one counts.
    return await Promise.race([interrupted(), showDemo(standalone, pages, screen, stop.signal)]);
  } finally {
    await standalone.stop();
    rmSync(data, { recursive: true, force: true });
  }
}

function logTo(stream: NodeJS.WritableStream): Logger {
  return createLogger('standalone', 'info', pino.multistream([{ stream }]));
}

/** Resolves with the exit code when the demo is asked to stop. */
async function interrupted(): Promise<number> {
  if (!stop.signal.aborted) await once(stop.signal, 'abort');
  screen.line('demo: interrupted; units and files are being removed');
  return EXIT_INTERRUPTED;
}
