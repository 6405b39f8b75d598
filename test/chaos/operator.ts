// SPDX-License-Identifier: Apache-2.0
import { request } from 'undici';
import { createSigner } from '#base/issuer.ts';
import { INTERNAL_AUDIENCE, OPERATOR_ISSUER, OPERATOR_SUBJECT, OPERATOR_TOKEN_SECONDS } from '#base/wire/claims.ts';
import { APP_UID } from './fleet.ts';
import type { World } from './world.ts';

/** What the operator asks of some gateway; undefined when none could be reached. */
async function ask(world: World, method: 'POST' | 'DELETE', path: string, body?: unknown): Promise<number | undefined> {
  const gateway = world.someGateway();
  if (gateway === undefined) return undefined;
  const signer = await createSigner(world.fleet.operatorKey, world.time.process(0));
  const claims = { iss: OPERATOR_ISSUER, aud: INTERNAL_AUDIENCE, sub: OPERATOR_SUBJECT };
  const token = await signer.sign(claims, OPERATOR_TOKEN_SECONDS);
  try {
    const reply = await request(`http://127.0.0.1:${gateway.internalPort}/internal/v1/${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', connection: 'close' },
      body: body === undefined ? null : JSON.stringify(body),
      headersTimeout: 5_000,
    });
    await reply.body.dump();
    return reply.statusCode;
  } catch {
    return undefined;
  }
}

/** False while it holds a lease, or when nobody answered. */
export async function retireUnit(world: World, unit: string): Promise<boolean> {
  return (await ask(world, 'POST', `units/${unit}/retire`, { app: APP_UID })) === 200;
}

/** As the operator does once the process of a unit has ended: work of its revision moves on when nobody is left there. */
export async function retireDead(world: World): Promise<void> {
  for (const unit of world.units)
    if (unit.isOver() && !unit.isRetired()) unit.setRetired(await retireUnit(world, unit.name));
}

/** True once nothing is left of the app. */
export async function purgeApp(world: World): Promise<boolean> {
  return (await ask(world, 'DELETE', `apps/${APP_UID}`)) === 204;
}
