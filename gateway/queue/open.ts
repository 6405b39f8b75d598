// SPDX-License-Identifier: Apache-2.0
export { openEmbeddedQueue } from './embedded/queue.ts';
export { openRedisQueue } from './redis/queue.ts';
