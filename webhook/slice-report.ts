// SPDX-License-Identifier: Apache-2.0
// What became of each pod, told to those who keep count: metrics, the log, Events.
import type { LineLogger } from '#base/line-log.ts';
import type { Logger } from '#base/logger.ts';
import type { EventRecorder } from '#kube/events.ts';
import type { WebhookMetrics } from './metrics.ts';
import type { SliceDeps, SliceEvent } from './slice/context.ts';

/** Control and format characters, ends of lines: what a person would not see, or not as it is. */
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]+/gu;
/** Of apiVersion, kind, name and uid. */
const FORMS = [
  /^[-.a-z0-9]{1,253}(?:\/[a-z0-9]{1,63})?$/,
  /^[A-Za-z]{1,63}$/,
  /^[-.a-z0-9]{0,253}$/,
  /^[-\w]{1,128}$/,
] as const;

export interface SliceListeners {
  readonly metrics: Pick<WebhookMetrics, 'sliced' | 'failed'>;
  readonly logger: Logger;
  /** One line for each pod that is changed. */
  readonly changes: LineLogger;
  readonly events: Pick<EventRecorder, 'record'>;
}

export function createSliceReport({
  metrics,
  logger,
  changes,
  events,
}: SliceListeners): Pick<SliceDeps, 'report' | 'emit'> {
  return {
    report: (report) => {
      metrics.sliced(report);
      const { outcome, error, reason, ...told } = report;
      if (error !== undefined) {
        metrics.failed('internal', report.namespace);
        logger.error({ ...told, err: error }, 'pod passed unlooked at');
      } else if (outcome === 'mutated') changes.info(told, told.again ? 'slices of a pod put right' : 'pod sliced');
      else if (outcome === 'ephemeral') changes.info(told, 'ephemeral containers of a pod with slices');
      else if (outcome === 'dry-run') changes.info(told, 'pod would have been sliced');
      else if (told.restored) changes.info({ ...told, reason }, 'pod made whole again');
      else logger.debug({ ...told, outcome, reason }, 'pod left as it is');
    },
    emit: ({ regarding, type, reason, message }) => {
      if (!isAnObject(regarding)) return;
      const { apiVersion, kind, namespace, name, uid } = regarding;
      // A pod that nobody controls and that has no name yet: its namespace is the nearest thing that people look at.
      const known =
        name === ''
          ? { apiVersion: 'v1', kind: 'Namespace', metadata: { namespace, name: namespace } }
          : { apiVersion, kind, metadata: { namespace, name, ...(uid === undefined ? {} : { uid }) } };
      events.record({ regarding: known, type, reason, action: 'Slice', note: message.replace(UNSEEN, ' ') });
    },
  };
}

/** The controller stands in the pod as whoever sent the review wrote it: Events bear no text of his. */
function isAnObject({ apiVersion, kind, name, uid = 'none' }: SliceEvent['regarding']): boolean {
  const said = [apiVersion, kind, name, uid];
  return said.every((one, index) => typeof one === 'string' && FORMS[index]?.test(one));
}
