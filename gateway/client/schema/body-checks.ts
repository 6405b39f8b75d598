// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { ServedApp } from '../../apps/app-source.ts';
import type { GatewayMetrics } from '../../metrics.ts';
import {
  CHECK_LIMIT_MS,
  HELD_BYTES_MAX,
  LOAD_LIMIT_MS,
  PLAIN_MAX_CHARS,
  WAITING_MAX,
  WAITING_PER_SCHEMA,
} from './limits.ts';
import { bodyInvalid, checkOverrun, checksBusy, schemaUnusable } from './problems.ts';
import { createSchemaMemory } from './schema-memory.ts';
import { createSchemaRefs } from './schema-ref.ts';
import type { SchemaRef } from './schema-ref.ts';
import { ValidatorSlot } from './validator-slot.ts';
import type { CheckOutcome, SlotLimits } from './validator-slot.ts';

/** Bodies checked against the schemas of their apps, off the thread that serves. */
export interface BodyChecks {
  /**
   * The check that an app's bodies must pass; undefined for an app without a schema.
   * @throws ProblemError 409 when the app's schema is known to be unusable
   */
  of(app: ServedApp): BodyCheck | undefined;
  stop(): Promise<void>;
}

export interface BodyCheck {
  /** Counts bytes that are held until they are checked; a negative number gives them back. @throws ProblemError 503 */
  hold(bytes: number): void;
  /** @throws ProblemError 409, 422, 503 */
  run(body: string): Promise<void>;
}

export interface BodyChecksOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Pick<GatewayMetrics, 'checked'>;
  /** Shorter times, for tests. */
  readonly limits?: SlotLimits;
}

/**
 * Two threads: `swift` for schemas that compiled quickly and never hung, `careful` for new ones and for suspects, so that one
 * app's catastrophic pattern holds up nobody but others of its kind.
 */
export function createBodyChecks({ clock, logger, metrics, limits }: BodyChecksOptions): BodyChecks {
  const refs = createSchemaRefs();
  const memory = createSchemaMemory(clock);
  const slotLimits = limits ?? { loadMs: LOAD_LIMIT_MS, checkMs: CHECK_LIMIT_MS };
  const careful = new ValidatorSlot(slotLimits, memory);
  const swift = new ValidatorSlot(slotLimits, memory);
  let held = 0;

  const ask = (ref: SchemaRef, body: string): Promise<CheckOutcome> => {
    const slot = memory.isTrusted(ref.id) ? swift : careful;
    const { all, ofSchema } = slot.waiting(ref.id);
    if (all >= WAITING_MAX || ofSchema >= WAITING_PER_SCHEMA) return Promise.resolve({ kind: 'unavailable' });
    return new Promise((resolve) => slot.add({ ref, body, resolve }));
  };

  // Only of schemas that a thread has compiled: whether one can be used is never judged here, nor what is wrong with a body.
  const fitsPlainly = ({ id, plain }: SchemaRef, body: string): boolean =>
    plain !== undefined && body.length <= PLAIN_MAX_CHARS && memory.isUsable(id) && plain(JSON.parse(body));

  const judge = judgement(logger, metrics);

  return {
    of: (app) => {
      const { schema } = app.spec.request;
      if (schema === undefined) return undefined;
      const ref = refs(schema);
      const fault = memory.faultOf(ref);
      if (fault !== undefined) {
        metrics.checked('unusable');
        throw schemaUnusable(app, fault);
      }
      return {
        hold: (bytes) => {
          held += bytes;
          if (bytes <= 0 || held <= HELD_BYTES_MAX) return;
          held -= bytes;
          metrics.checked('unavailable');
          throw checksBusy();
        },
        run: async (body) => judge(app, fitsPlainly(ref, body) ? FITS : await ask(ref, body)),
      };
    },
    stop: async () => {
      await Promise.all([careful.stop(), swift.stop()]);
    },
  };
}

const FITS: CheckOutcome = { kind: 'fits' };

/** Counts an outcome; whatever is not `fits` becomes an error. */
function judgement(logger: Logger, metrics: BodyChecksOptions['metrics']) {
  return (app: ServedApp, outcome: CheckOutcome): void => {
    metrics.checked(outcome.kind);
    const about = { app: app.uid, name: app.name };
    switch (outcome.kind) {
      case 'fits':
        return;
      case 'misfits':
        throw bodyInvalid(outcome.errors, outcome.more);
      case 'unusable':
        logger.warn({ ...about, reason: outcome.reason }, 'the request schema of an app cannot be used');
        throw schemaUnusable(app, outcome.reason);
      case 'overrun':
        logger.warn(about, 'a body took too long to check: a pattern of the schema backtracks');
        throw checkOverrun();
      default:
        throw checksBusy();
    }
  };
}
