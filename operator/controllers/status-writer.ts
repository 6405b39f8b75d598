// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp, InferenceAppStatus } from '#crds/inference-app.gen.ts';
import { FIELD_MANAGER } from '#crds/names.ts';
import type { Clock } from '#base/clock.ts';
import { canonicalJson } from '#base/json.ts';
import { applyStatusIfChanged } from '#kube/apply.ts';
import type { KubeClient } from '#kube/client.ts';
import { INFERENCE_APPS } from '#kube/resource.ts';

/** Queue counts move with every request; they are written at most this often (DESIGN §2). Everything else goes out at once. */
const VOLATILE_EVERY_MS = 15_000;

export interface StatusWriter {
  /** Writes what changed. Answers after how many ms a write that was put off is due. */
  write(app: InferenceApp, status: InferenceAppStatus): Promise<number | undefined>;
  forget(uid: string): void;
}

export function createStatusWriter(client: KubeClient, clock: Clock): StatusWriter {
  const writtenAt = new Map<string, number>();
  return {
    write: async (app, status) => {
      const uid = app.metadata.uid ?? '';
      const now = clock.monotonic();
      const due = (writtenAt.get(uid) ?? Number.NEGATIVE_INFINITY) + VOLATILE_EVERY_MS;
      if (due > now && steady(app.status) === steady(status) && volatile(app.status) !== volatile(status))
        return due - now;
      if (await applyStatusIfChanged(client, INFERENCE_APPS, app, status, FIELD_MANAGER)) writtenAt.set(uid, now);
      return undefined;
    },
    forget: (uid) => void writtenAt.delete(uid),
  };
}

function steady(status: InferenceAppStatus | undefined): string {
  const { queue: _queue, oldestRequestTime: _oldest, ...rest } = status ?? {};
  return canonicalJson(rest);
}

function volatile(status: InferenceAppStatus | undefined): string {
  return canonicalJson({ queue: status?.queue, oldest: status?.oldestRequestTime });
}
