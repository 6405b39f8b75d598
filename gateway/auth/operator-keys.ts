// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import type { Jwks } from '#base/issuer.ts';
import type { Logger } from '#base/logger.ts';
import { ISSUER_CONFIGMAP, ISSUER_KEY } from '#base/wire/claims.ts';
import { createInformer } from '#kube/informer.ts';
import type { KubeDeps } from '#kube/informer.ts';
import { CONFIG_MAPS } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { watchPath } from '../apps/watch-path.ts';

/** The operator's public keys as last published; the last good set stays when a bad one comes. */
export interface OperatorKeys {
  jwks(): Jwks;
  close(): Promise<void>;
}

interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

const isJwks = new Ajv({ strict: false }).compile<Jwks>({
  type: 'object',
  required: ['keys'],
  properties: {
    keys: {
      type: 'array',
      maxItems: 16,
      items: {
        type: 'object',
        required: ['kty', 'crv', 'x', 'kid'],
        // A private key in a public document is a leak; to go on with it would hide that.
        properties: {
          kty: { const: 'OKP' },
          crv: { const: 'Ed25519' },
          x: { type: 'string' },
          kid: { type: 'string' },
          d: false,
        },
      },
    },
  },
});

/** @throws Error when it is not a JWKS of public Ed25519 keys */
export function parseJwks(text: string): Jwks {
  const document: unknown = JSON.parse(text);
  if (isJwks(document)) return document;
  const [error] = isJwks.errors ?? [];
  throw new Error(`not a JWKS of public Ed25519 keys: ${error?.instancePath ?? ''} ${error?.message ?? ''}`);
}

/** Keys from a file, read again when it changes. @throws Error when the first one is not valid */
export function watchKeysFile(file: string, logger: Logger): OperatorKeys {
  const keys = keeper(file, logger);
  keys.take(readFileSync(file, 'utf8'));
  const stop = watchPath(file, () => {
    try {
      keys.offer(readFileSync(file, 'utf8'));
    } catch (err) {
      logger.error({ file, err }, 'the operator’s keys cannot be read; the last good ones stay in force');
    }
  });
  return { jwks: keys.jwks, close: async () => stop() };
}

/** Keys from ConfigMap `penstock-issuer`, watched. Empty until the operator has published: until then callers are told to come again. */
export function watchKeysConfigMap(deps: KubeDeps, namespace: string): OperatorKeys {
  const keys = keeper(`ConfigMap ${namespace}/${ISSUER_CONFIGMAP}`, deps.logger);
  const informer = createInformer<ConfigMap>(deps, {
    resource: CONFIG_MAPS,
    namespace,
    fieldSelector: `metadata.name=${ISSUER_CONFIGMAP}`,
  });
  const off = informer.cache.onChange((event) => {
    const text = event.type === 'delete' ? undefined : event.object.data?.[ISSUER_KEY];
    if (text !== undefined) keys.offer(text);
  });
  informer.start();
  return {
    jwks: keys.jwks,
    close: async () => {
      off();
      await informer.stop();
    },
  };
}

function keeper(source: string, logger: Logger) {
  let current: Jwks = { keys: [] };
  const take = (text: string): void => {
    current = parseJwks(text);
    logger.info({ source, kids: current.keys.map(({ kid }) => kid) }, 'operator keys read');
  };
  return {
    jwks: () => current,
    take,
    offer: (text: string): void => {
      try {
        take(text);
      } catch (err) {
        logger.error({ source, err }, 'operator keys refused; the last good ones stay in force');
      }
    },
  };
}
