// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'ioredis';
import { expect, test } from 'vitest';
import { isAway, runScript, script } from './runner.ts';
import type { ScriptServer } from './runner.ts';

/** Answers the calls in turn: an error's message, or what a script answers. */
function server(...answers: readonly (Error | string)[]): ScriptServer & { readonly calls: string[] } {
  const calls: string[] = [];
  return {
    calls,
    stream: undefined as unknown as ScriptServer['stream'],
    sendCommand: (command: Command) => {
      const answer = answers[calls.length] ?? new Error('ERR asked too often');
      calls.push(command.name);
      if (typeof answer === 'string') command.resolve(Buffer.from(answer));
      else command.reject(answer);
      return command.promise;
    },
  };
}

const one = script('return 1');

test('a script that the server does not know is sent whole', async () => {
  const redis = server(new Error('NOSCRIPT No matching script. Please use EVAL.'), 'done');
  expect(String(await runScript(redis, one, 'key', []))).toBe('done');
  expect(redis.calls).toEqual(['evalsha', 'eval']);
});

test.each([
  ['a replica', "READONLY You can't write against a read only replica. script: ab, on @user_script:9."],
  ['a server that reads its data', 'LOADING Redis is loading the dataset in memory'],
  ['a replica without its primary', "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."],
])('a call to %s is made again until the primary answers', async (_name, message) => {
  const redis = server(new Error(message), new Error(message), 'done');
  expect(isAway(new Error(message))).toBe(true);
  expect(String(await runScript(redis, one, 'key', []))).toBe('done');
  expect(redis.calls).toEqual(['evalsha', 'evalsha', 'evalsha']);
});

test.each(['ERR something else', 'OOM command not allowed', 'NOREPLICAS Not enough good replicas to write.'])(
  '%s is told at once',
  async (message) => {
    const redis = server(new Error(message), 'done');
    await expect(runScript(redis, one, 'key', [])).rejects.toMatchObject({
      code: 'unavailable',
      message: `Redis: ${message}`,
    });
    expect(redis.calls).toEqual(['evalsha']);
  },
);
