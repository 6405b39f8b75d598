// SPDX-License-Identifier: Apache-2.0
import type { KubeAddress } from './apiserver.ts';
import type { S3Address } from './minio.ts';
import type { RedisAddress } from './redis.ts';

/** What the global set-up hands to the tests: `inject('servers')`. */
export interface Servers {
  /** Shared by all test files of a run: use a key prefix or a database of your own, or `startRedis`. */
  readonly redis: RedisAddress;
  /** Shared too: use an object prefix of your own. */
  readonly s3: S3Address;
  /** Only in project `integration`. Has the CRDs; use a namespace of your own, or `startApiServer`. */
  readonly kube?: KubeAddress;
}

declare module 'vitest' {
  export interface ProvidedContext {
    servers: Servers;
  }
}
