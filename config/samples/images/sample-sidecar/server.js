// SPDX-License-Identifier: Apache-2.0
// A plain HTTP server, as anybody's model server might be: it knows nothing of Penstock. POST /predict answers the text it
// was sent in upper case, in the same content type, after --delay milliseconds (default 0); GET /healthz when it is up.
const { createServer } = require('node:http');
const { setTimeout: sleep } = require('node:timers/promises');
const { parseArgs } = require('node:util');

const { values } = parseArgs({
  options: { port: { type: 'string', default: '8000' }, delay: { type: 'string', default: '0' } },
});
const maxBytes = 64 * 1024 * 1024;

const server = createServer((request, response) => {
  answer(request, response).catch((error) => response.headersSent || response.writeHead(500).end(`${error.message}\n`));
});

async function answer(request, response) {
  if (request.method === 'GET' && request.url === '/healthz') return response.end('ok\n');
  if (request.method !== 'POST' || request.url !== '/predict')
    return response.writeHead(404).end('POST /predict or GET /healthz\n');
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > maxBytes) return response.writeHead(413).end(`at most ${maxBytes} bytes\n`);
    parts.push(part);
  }
  await sleep(Number(values.delay));
  const type = request.headers['content-type'] ?? 'text/plain; charset=utf-8';
  response.writeHead(200, { 'content-type': type });
  return response.end(Buffer.concat(parts).toString().toUpperCase());
}

server.listen(Number(values.port), () => console.log(`listening on ${values.port}`));
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => server.close());
