// SPDX-License-Identifier: Apache-2.0
export { openEmbeddedQueue } from './embedded/queue.ts';
export type { EmbeddedQueueOptions } from './embedded/queue.ts';
export { openRedisQueue } from './redis/queue.ts';
export type { RedisQueueOptions } from './redis/queue.ts';
