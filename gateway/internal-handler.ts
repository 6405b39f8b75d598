// SPDX-License-Identifier: Apache-2.0
import { BROKER_CALLS } from './broker/calls.ts';
import type { BrokerContext } from './broker/context.ts';
import { checkOperator } from './control/context.ts';
import type { ControlContext } from './control/context.ts';
import { demand } from './control/demand.ts';
import { purgeApp } from './control/purge.ts';
import { retire } from './control/retire.ts';
import { revoke } from './control/revoke.ts';
import { answerJson } from './http/answer.ts';
import { exchangeFactory, pathOf } from './http/exchange.ts';
import type { Exchange, RequestIds } from './http/exchange.ts';
import { OBJECTS_PATH, serveObject } from './http/objects.ts';
import { createRoutes } from './http/routes.ts';
import type { Route, RouteHandler } from './http/routes.ts';
import type { Handler } from './http/server.ts';
import { serve } from './http/serve.ts';
import type { ServeContext } from './http/serve.ts';

export interface InternalHandlerOptions {
  readonly broker: BrokerContext;
  readonly control: ControlContext;
  readonly serving: ServeContext;
  readonly requestIds: RequestIds;
  /** Serves /objects/…: the signed URLs of the local store. */
  readonly objects: Handler | undefined;
}

const BASE = '/internal/v1/';

/** The internal port: the broker's calls by one look-up, the operator's through express. */
export function createInternalHandler({
  broker,
  control,
  serving,
  requestIds,
  objects,
}: InternalHandlerOptions): Handler {
  const exchange = exchangeFactory(serving.clock, requestIds);
  const brokerRoutes = [...BROKER_CALLS].map(([name, call]): Route => ({
    path: `${BASE}${name}`,
    methods: { POST: (x) => call(broker, x) },
  }));
  const rest = createRoutes([...brokerRoutes, ...controlRoutes(control)], serving, exchange);

  return (req, res) => {
    const path = pathOf(req);
    if (objects !== undefined && path.startsWith(OBJECTS_PATH)) return serveObject(objects, req, res, requestIds(req));
    const call = path.startsWith(BASE) && req.method === 'POST' ? BROKER_CALLS.get(path.slice(BASE.length)) : undefined;
    if (call === undefined) return rest(req, res);
    const x = exchange(req, res, path);
    serve(x, serving, () => call(broker, x));
  };
}

function controlRoutes(control: ControlContext): readonly Route[] {
  const guarded =
    (handle: RouteHandler): RouteHandler =>
    async (x, params) => {
      await checkOperator(x, control.sessions);
      await handle(x, params);
    };
  const noStore = { 'cache-control': 'no-store' };
  return [
    {
      path: `${BASE}demand`,
      methods: { GET: guarded(async (x) => answerJson(x, 200, await demand(control), noStore)) },
    },
    { path: `${BASE}demand/stream`, methods: { GET: guarded((x: Exchange) => control.streams.open(x)) } },
    {
      path: `${BASE}units/:unit/retire`,
      methods: { POST: guarded(async (x, { unit = '' }) => answerJson(x, 200, await retire(x, control, unit))) },
    },
    { path: `${BASE}revoke`, methods: { POST: guarded(async (x) => answerJson(x, 200, await revoke(x, control))) } },
    { path: `${BASE}apps/:uid`, methods: { DELETE: guarded((x, { uid = '' }) => purgeApp(x, control, uid)) } },
  ];
}
