// SPDX-License-Identifier: Apache-2.0
import { fileURLToPath } from 'node:url';
import { spawnGuarded } from '../guard.ts';
import { FrameReader, encodeFrame } from './frames.ts';
import type { Channel } from './protocol.ts';
import { userEnv } from './thread-channel.ts';

/** A handler host in a child process: CPython, over descriptors 3 and 4, so that prints can't disturb the messages. */
export function openPython(interpreter: string, script: URL, cwd: string): Channel {
  const child = spawnGuarded({
    command: [interpreter, '-u', fileURLToPath(script)],
    env: userEnv(process.env),
    cwd,
    pipes: true,
  });
  const { toChild, fromChild } = child;
  if (toChild === null || fromChild === null) throw new Error('the child has no pipes');
  const reader = new FrameReader();
  let garbled: string | undefined;
  return {
    send: (message) => {
      toChild.cork();
      for (const piece of encodeFrame(message)) toChild.write(piece);
      toChild.uncork();
    },
    onMessage: (listener) =>
      void fromChild.on('data', (chunk: Buffer) => {
        try {
          for (const message of reader.push(chunk)) listener(message);
        } catch (err) {
          garbled = err instanceof Error ? err.message : String(err);
          void child.stop(0);
        }
      }),
    onClose: (listener) => void child.ended.then((reason) => listener(garbled ?? reason)),
    kill: () => child.stop(0),
  };
}
