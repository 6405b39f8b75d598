// SPDX-License-Identifier: Apache-2.0
import { GROUP, RESOURCES } from '#crds/names.ts';
import type { AdmissionHandler, AdmissionRequest } from '../admission/types.ts';
import type { WebhookName } from '../metrics.ts';

/** What one path reviews. */
export interface Route {
  readonly webhook: Exclude<WebhookName, 'none'>;
  readonly group: string;
  readonly resource: string;
  /** Trouble of our own lets the request pass, with a warning; else it refuses. As `failurePolicy` of the path's configuration. */
  readonly failOpen: boolean;
  readonly cases: readonly RouteCase[];
}

export interface RouteCase {
  /** '' for the object itself. */
  readonly subResource: string;
  readonly operations: readonly AdmissionRequest['operation'][];
  readonly handle: AdmissionHandler;
}

export interface Handlers {
  readonly mutatePods: AdmissionHandler;
  readonly mutateEphemeral: AdmissionHandler;
  readonly validateInferenceApps: AdmissionHandler;
  readonly validatePlacements: AdmissionHandler;
}

/** By path. */
export function createRoutes(handlers: Handlers): ReadonlyMap<string, Route> {
  const own = (webhook: 'inferenceapps' | 'placements', resource: string, handle: AdmissionHandler): Route => ({
    webhook,
    group: GROUP,
    resource,
    failOpen: false,
    cases: [{ subResource: '', operations: ['CREATE', 'UPDATE'], handle }],
  });
  return new Map<string, Route>([
    [
      '/mutate/pods',
      {
        webhook: 'pods',
        group: '',
        resource: 'pods',
        failOpen: true,
        cases: [
          { subResource: '', operations: ['CREATE'], handle: handlers.mutatePods },
          { subResource: 'ephemeralcontainers', operations: ['UPDATE'], handle: handlers.mutateEphemeral },
        ],
      },
    ],
    ['/validate/inferenceapps', own('inferenceapps', RESOURCES.inferenceApp.plural, handlers.validateInferenceApps)],
    ['/validate/placements', own('placements', RESOURCES.placement.plural, handlers.validatePlacements)],
  ]);
}

/**
 * Who reviews the request: undefined when it is none of the operations that are looked at (it passes), 'misrouted' when the path is not
 * for such objects at all.
 */
export function handlerOf(route: Route, request: AdmissionRequest): AdmissionHandler | 'misrouted' | undefined {
  const { resource, subResource = '', operation } = request;
  if (resource.group !== route.group || resource.resource !== route.resource) return 'misrouted';
  return route.cases.find((one) => one.subResource === subResource && one.operations.includes(operation))?.handle;
}
