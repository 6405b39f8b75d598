// SPDX-License-Identifier: Apache-2.0
import { setTimeout as delay } from 'node:timers/promises';
import { request } from 'undici';
import { isObject } from '#base/json.ts';
import { APP_NAME, APP_UID } from './fleet.ts';
import type { TenantName } from './fleet.ts';
import type { World } from './world.ts';

/** Letters that a step chooses from: more than any schedule makes. */
const LETTERS = 50;
const TRIES = 3;
/** For one to die, of a real millisecond each; of the schedule's time with some of them. */
const LOOKS = 40;
const LOOK_MS = 200;

type Method = 'POST' | 'DELETE';

/** What an admin asks, again while nobody answers: a call may have done its work although its answer was lost. */
async function ask(world: World, method: Method, path: string, body?: unknown): Promise<unknown> {
  world.adminCalls += 1;
  try {
    for (let tried = 0; tried < TRIES; tried++) {
      const reply = await once(world, method, path, body);
      if (reply !== undefined && reply.status !== 503) return reply.answer;
      await delay(tried);
    }
    return undefined;
  } finally {
    world.adminCalls -= 1;
  }
}

interface Reply {
  readonly status: number;
  readonly answer: unknown;
}

async function once(world: World, method: Method, path: string, body: unknown): Promise<Reply | undefined> {
  const gateway = world.someGateway();
  if (gateway === undefined) return undefined;
  try {
    const reply = await request(`http://127.0.0.1:${gateway.clientPort}/v1/${APP_NAME}/dead-letters${path}`, {
      method,
      headers: {
        authorization: `Bearer ${world.fleet.adminKey}`,
        connection: 'close',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      headersTimeout: 5_000,
    });
    const text = await reply.body.text();
    const { statusCode: status } = reply;
    return { status, answer: status < 300 && text !== '' ? JSON.parse(text) : undefined };
  } catch {
    return undefined;
  }
}

/** Until there is one, or it does not come: its unit, its gateway or the network may be gone. */
export async function awaitLetter(world: World): Promise<void> {
  for (let look = 0; look < LOOKS && world.live().length > 0; look++) {
    if ((await world.backend.view().deadLetterCount(APP_UID)) > 0) return;
    await delay(1);
    // A unit whose call was broken off waits before the next one.
    if (look % 8 === 7) await world.time.advance(LOOK_MS);
  }
}

/** One of the dead letters, or of those that were acted on before: a second call must find nothing to do. */
export async function letterOf(world: World, of: number): Promise<string | undefined> {
  if (world.live().length === 0) return undefined;
  const { letters } = await world.backend.view().deadLetters(APP_UID, {}, LETTERS);
  const acted = world.history.all().flatMap((seen) => {
    if (seen.type === 'redriven') return [seen.from];
    return seen.type === 'discarded' ? seen.ids : [];
  });
  const all = [...letters.map(({ id }) => id), ...acted];
  return all[of % Math.max(1, all.length)];
}

/** The tickets of the requests that were made or joined. */
export async function redriveOne(world: World, letter: string): Promise<Redriven[]> {
  return ticketsIn([await ask(world, 'POST', `/${letter}/redrive`)]);
}

export async function redriveAll(world: World): Promise<Redriven[]> {
  const answer = await ask(world, 'POST', '/redrive', { all: true });
  return isObject(answer) && Array.isArray(answer['redriven']) ? ticketsIn(answer['redriven']) : [];
}

export async function discardOne(world: World, letter: string): Promise<void> {
  await ask(world, 'DELETE', `/${letter}`);
}

export async function discardAll(world: World): Promise<void> {
  await ask(world, 'DELETE', '?all=true');
}

export interface Redriven {
  readonly tenant: TenantName;
  readonly ticket: string;
}

function ticketsIn(answers: readonly unknown[]): Redriven[] {
  return answers.flatMap((one) => {
    if (!isObject(one) || typeof one['ticket'] !== 'string') return [];
    return [{ tenant: one['tenant'] as TenantName, ticket: one['ticket'] }];
  });
}
