// SPDX-License-Identifier: Apache-2.0
import type { Exchange, RequestIds } from '../http/exchange.ts';
import { INFER_ROUTE, STATUS_ROUTE, exchangeFactory, pathOf } from '../http/exchange.ts';
import { answerJson } from '../http/answer.ts';
import { OBJECTS_PATH, serveObject } from '../http/objects.ts';
import { createRoutes } from '../http/routes.ts';
import type { Handler } from '../http/server.ts';
import { serve } from '../http/serve.ts';
import type { ServeContext } from '../http/serve.ts';
import type { ClientContext } from './context.ts';
import {
  listDeadLetters,
  redriveDeadLetter,
  redriveDeadLetters,
  removeDeadLetter,
  removeDeadLetters,
} from './dead-letters/routes.ts';
import { infer } from './infer.ts';
import { cancelRequest, showRequest } from './requests.ts';
import { status } from './status.ts';

export interface ClientHandlerOptions {
  readonly context: ClientContext;
  readonly serving: ServeContext;
  readonly requestIds: RequestIds;
  readonly version: string;
  /** Serves /objects/…: the signed URLs of the local store. */
  readonly objects: Handler | undefined;
}

/** The two hot routes, by one expression: express' router would double the cost of a request (operator-notes §6). */
const HOT = /^\/v1\/([a-z0-9.-]{1,128})\/(?:infer|status\/([A-Za-z0-9_-]{1,64}))$/;

/** The client port: the hot routes first, everything else through express. */
export function createClientHandler({ context, serving, requestIds, version, objects }: ClientHandlerOptions): Handler {
  const exchange = exchangeFactory(serving.clock, requestIds);
  const rest = createRoutes(
    [
      { path: '/version', methods: { GET: (x) => answerJson(x, 200, { name: 'penstock', version }) } },
      { path: '/v1/:app/infer', methods: { POST: (x, { app = '' }) => infer(x, context, app) } },
      {
        path: '/v1/:app/status/:ticket',
        methods: { GET: (x, { app = '', ticket = '' }) => status(x, context, app, ticket) },
      },
      {
        path: '/v1/:app/requests/:id',
        methods: {
          GET: (x, { app = '', id = '' }) => showRequest(x, context, app, id),
          DELETE: (x, { app = '', id = '' }) => cancelRequest(x, context, app, id),
        },
      },
      {
        path: '/v1/:app/dead-letters',
        methods: {
          GET: (x, { app = '' }) => listDeadLetters(x, context, app),
          DELETE: (x, { app = '' }) => removeDeadLetters(x, context, app),
        },
      },
      {
        path: '/v1/:app/dead-letters/redrive',
        methods: { POST: (x, { app = '' }) => redriveDeadLetters(x, context, app) },
      },
      {
        path: '/v1/:app/dead-letters/:id',
        methods: { DELETE: (x, { app = '', id = '' }) => removeDeadLetter(x, context, app, id) },
      },
      {
        path: '/v1/:app/dead-letters/:id/redrive',
        methods: { POST: (x, { app = '', id = '' }) => redriveDeadLetter(x, context, app, id) },
      },
    ],
    serving,
    exchange,
  );

  return (req, res) => {
    const path = pathOf(req);
    if (objects !== undefined && path.startsWith(OBJECTS_PATH)) return serveObject(objects, req, res, requestIds(req));
    const [, app, ticket] = HOT.exec(path) ?? [];
    let x: Exchange;
    if (app !== undefined && ticket === undefined && req.method === 'POST') {
      x = exchange(req, res, INFER_ROUTE);
      return serve(x, serving, () => infer(x, context, app));
    }
    if (app !== undefined && ticket !== undefined && req.method === 'GET') {
      x = exchange(req, res, STATUS_ROUTE);
      return serve(x, serving, () => status(x, context, app, ticket));
    }
    rest(req, res);
  };
}
