// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Handler } from './server.ts';

/** Where the signed URLs of the local store are served, on both ports. */
export const OBJECTS_PATH = '/objects/';

/** Hands a request to the store's own handler, which knows nothing of `Expect`. */
export function serveObject(objects: Handler, req: IncomingMessage, res: ServerResponse, requestId: string): void {
  res.setHeader('x-request-id', requestId);
  if (req.headers.expect?.toLowerCase() === '100-continue') res.writeContinue();
  objects(req, res);
}
