// SPDX-License-Identifier: Apache-2.0
import { uuid7 } from '#base/uuid7.ts';
import { appDeleting, checkAccepting } from '../../apps/resolve.ts';
import type { ServedApp } from '../../apps/app-source.ts';
import { callerOf } from '../../audit.ts';
import { answerEmpty, answerJson } from '../../http/answer.ts';
import type { Exchange } from '../../http/exchange.ts';
import type { RedriveOutcome, RequestRecord } from '../../queue/lease-queue.ts';
import type { ClientContext } from '../context.ts';
import { deadLetterView } from '../view.ts';
import { asked, deadLetterAccess, findLetter, letterUnknown } from './access.ts';
import { actOnMany } from './bulk.ts';
import type { Bulk } from './bulk.ts';
import { listFilter, purgeFilter, redriveFilter, withinTenant } from './filter.ts';
import { eachPortion } from './pages.ts';

const PRIVATE = { 'cache-control': 'no-store' };

/** GET /v1/{app}/dead-letters: one page, oldest death first. @throws ProblemError */
export async function listDeadLetters(x: Exchange, context: ClientContext, appName: string): Promise<void> {
  const { app, tenant } = await deadLetterAccess(x, context, appName, 'operator');
  const selection = withinTenant(listFilter(x, app, context.cursors), tenant);
  const letters: RequestRecord[] = [];
  const cursor = await eachPortion(context, app.uid, selection, (found) => void letters.push(...found));
  answerJson(
    x,
    200,
    {
      dead_letters: letters.map((letter) =>
        deadLetterView(letter, { ticket: ticketOf(context, app, letter), appName, tickets: context.tickets }),
      ),
      ...more(context, app, cursor),
    },
    PRIVATE,
  );
}

/** POST /v1/{app}/dead-letters/{id}/redrive: 202 with the new ticket; a repeat answers the same. @throws ProblemError */
export async function redriveDeadLetter(
  x: Exchange,
  context: ClientContext,
  appName: string,
  name: string,
): Promise<void> {
  const { app, tenant } = await deadLetterAccess(x, context, appName, 'admin');
  checkAccepting(app);
  const letter = await findLetter(context, app, name);
  const [outcome] = await redrive(context, app, [letter]);
  if (outcome === undefined || outcome.kind === 'unknown') throw letterUnknown();
  if (outcome.kind === 'closed') throw appDeleting();
  const ticket = ticketOf(context, app, outcome.record);
  context.metrics.lettersActed(outcome.kind, 1);
  context.audit.record({
    ...callerOf(x, tenant),
    action: 'dead-letter.redrive',
    object: { app: app.uid, tenant: letter.tenant, request: letter.id },
    result: outcome.kind,
    before: stateOf(letter),
    after: { request: outcome.record.id },
  });
  answerJson(
    x,
    202,
    { ticket, request: outcome.record.id, tenant: letter.tenant, outcome: outcome.kind },
    { ...PRIVATE, location: `/v1/${appName}/status/${ticket}` },
  );
}

/** POST /v1/{app}/dead-letters/redrive: what a filter in the body selects, so many at a time. @throws ProblemError */
export async function redriveDeadLetters(x: Exchange, context: ClientContext, appName: string): Promise<void> {
  const access = await deadLetterAccess(x, context, appName, 'admin');
  const { app } = access;
  checkAccepting(app);
  const selection = await redriveFilter(x, app, context.cursors);
  const redriven: Record<string, unknown>[] = [];
  const act: Bulk['act'] = async (letters, done) => {
    const outcomes = await redrive(context, app, letters);
    outcomes.forEach((outcome, i) => {
      const letter = letters[i];
      if (outcome.kind === 'closed') throw appDeleting();
      // Someone else has redriven or removed it since it was listed.
      if (letter === undefined || outcome.kind === 'unknown') return;
      done([letter], 1);
      context.metrics.lettersActed(outcome.kind, 1);
      redriven.push({
        id: ticketOf(context, app, letter),
        ticket: ticketOf(context, app, outcome.record),
        tenant: letter.tenant,
        outcome: outcome.kind,
      });
    });
  };
  const bulk = { action: 'dead-letter.redrive-all', result: 'redriven', selection, act } as const;
  const cursor = await actOnMany(x, context, access, bulk);
  answerJson(x, 200, { redriven, more: cursor !== undefined, ...more(context, app, cursor) }, PRIVATE);
}

/** DELETE /v1/{app}/dead-letters/{id}: its record goes with the next sweep. @throws ProblemError */
export async function removeDeadLetter(
  x: Exchange,
  context: ClientContext,
  appName: string,
  name: string,
): Promise<void> {
  const { app, tenant } = await deadLetterAccess(x, context, appName, 'admin');
  const letter = await findLetter(context, app, name);
  const removed = await asked(() => context.queue.discard(app.uid, [letter.id]));
  if (removed === 0) throw letterUnknown();
  context.metrics.lettersActed('discarded', removed);
  context.audit.record({
    ...callerOf(x, tenant),
    action: 'dead-letter.purge',
    object: { app: app.uid, tenant: letter.tenant, request: letter.id },
    result: 'discarded',
    before: stateOf(letter),
    after: { ...stateOf(letter), deadLetter: false },
  });
  answerEmpty(x, 204, PRIVATE);
}

/** DELETE /v1/{app}/dead-letters: what a filter in the query selects, so many at a time. @throws ProblemError */
export async function removeDeadLetters(x: Exchange, context: ClientContext, appName: string): Promise<void> {
  const access = await deadLetterAccess(x, context, appName, 'admin');
  const { app } = access;
  const selection = purgeFilter(x, app, context.cursors);
  let discarded = 0;
  const act: Bulk['act'] = async (letters, done) => {
    const ids = letters.map(({ id }) => id);
    const removed = await asked(() => context.queue.discard(app.uid, ids));
    discarded += removed;
    context.metrics.lettersActed('discarded', removed);
    done(letters, removed);
  };
  const bulk = { action: 'dead-letter.purge', result: 'discarded', selection, act } as const;
  const cursor = await actOnMany(x, context, access, bulk);
  answerJson(x, 200, { discarded, more: cursor !== undefined, ...more(context, app, cursor) }, PRIVATE);
}

/** For the audit log. A letter that was redriven before names its successor. */
function stateOf({ state, deadLetter, cause, redrivenAs }: RequestRecord): Readonly<Record<string, unknown>> {
  return { state, deadLetter, cause: cause?.kind, ...(redrivenAs === undefined ? {} : { redrivenAs }) };
}

/** With the shares as they are now: of a tenant without waiting work the queue may have forgotten its own. */
function redrive(
  { queue, clock, random, tenants }: ClientContext,
  app: ServedApp,
  letters: readonly RequestRecord[],
): Promise<readonly RedriveOutcome[]> {
  const policies = tenants.policies();
  const calls = letters.map(({ id, tenant }) => ({
    id,
    newId: uuid7(clock, random),
    revision: app.revision,
    share: policies.of(tenant).shareFor(app),
  }));
  return asked(() => queue.redrive(app.uid, calls));
}

function ticketOf({ tickets }: ClientContext, { uid }: ServedApp, { tenant, id }: RequestRecord): string {
  return tickets.mint({ appUid: uid, tenant }, id);
}

function more({ cursors }: ClientContext, { uid }: ServedApp, cursor: string | undefined): { cursor?: string } {
  return cursor === undefined ? {} : { cursor: cursors.seal(uid, cursor) };
}
