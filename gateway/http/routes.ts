// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http';
import express from 'express';
import type { Express, NextFunction, Request, Response } from 'express';
import { gatewayError } from '../errors.ts';
import { answerEmpty } from './answer.ts';
import type { Exchange } from './exchange.ts';
import type { Handler } from './server.ts';
import { serve } from './serve.ts';
import type { ServeContext } from './serve.ts';

export type RouteHandler = (x: Exchange, params: Readonly<Record<string, string>>) => Promise<void> | void;
type Method = 'GET' | 'POST' | 'DELETE';

export interface Route {
  /** Of express: `/v1/:app/infer`. */
  readonly path: string;
  readonly methods: Partial<Record<Method, RouteHandler>>;
}

/**
 * The routes of one port as an express app. A known path with another method answers 405 with Allow, OPTIONS answers what is
 * allowed, HEAD goes with GET, and everything else is a 404: all as problem documents.
 */
export function createRoutes(
  routes: readonly Route[],
  context: ServeContext,
  exchange: (req: IncomingMessage, res: Response, route: string) => Exchange,
): Handler {
  const app = plainExpress();
  for (const { path, methods } of routes) {
    const template = path.replaceAll(/:([a-z]+)/g, '{$1}');
    app.all(path, (req: Request, res: Response) => {
      const x = exchange(req, res, template);
      serve(x, context, () => dispatch(x, methods, paramsOf(req)));
    });
  }
  app.use((req: Request, res: Response) => {
    serve(exchange(req, res, 'unknown'), context, () => {
      throw notFound(routes);
    });
  });
  app.use((err: unknown, req: Request, res: Response, _next: NextFunction) => {
    serve(exchange(req, res, 'unknown'), context, () => {
      throw fromExpress(err);
    });
  });
  return app;
}

/** Nothing of express' comforts that costs time or tells what we run on; strict paths, no query parsing. */
function plainExpress(): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', false);
  app.enable('strict routing');
  app.enable('case sensitive routing');
  return app;
}

function dispatch(x: Exchange, methods: Route['methods'], params: Record<string, string>): Promise<void> | void {
  const allow = allowed(methods);
  const method = x.req.method === 'HEAD' ? 'GET' : x.req.method;
  if (method === 'OPTIONS') return answerEmpty(x, 204, { allow });
  const handler = isMethod(method) ? methods[method] : undefined;
  if (handler !== undefined) return handler(x, params);
  throw gatewayError('method-not-allowed', `${x.req.method ?? 'this method'} is not allowed on this path`, {
    field: 'method',
    fix: `use ${allow}`,
    headers: { allow },
  });
}

function allowed(methods: Route['methods']): string {
  const own = Object.keys(methods);
  return [...own, ...(methods.GET === undefined ? [] : ['HEAD']), 'OPTIONS'].join(', ');
}

function isMethod(method: string | undefined): method is Method {
  return method === 'GET' || method === 'POST' || method === 'DELETE';
}

function paramsOf({ params }: Request): Record<string, string> {
  return Object.fromEntries(Object.entries(params).map(([name, value]) => [name, String(value)]));
}

function notFound(routes: readonly Route[]): Error {
  return gatewayError('not-found', 'nothing is served under this path', {
    field: 'path',
    fix: `known here: ${routes.map(({ path }) => path.replaceAll(/:([a-z]+)/g, '{$1}')).join(', ')}`,
  });
}

/** Express throws one thing of its own: a path that does not decode. */
function fromExpress(err: unknown): unknown {
  const status = err instanceof Error && 'status' in err ? err.status : undefined;
  if (status !== 400) return err;
  return gatewayError('bad-path', 'the path has a percent-encoding that does not decode', {
    field: 'path',
    fix: 'percent-encode the path as UTF-8 (RFC 3986 §2.1)',
  });
}
