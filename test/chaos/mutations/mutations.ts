// SPDX-License-Identifier: Apache-2.0
import type { Mutation } from './mutation.ts';
import { EMBEDDED_MUTATIONS } from './embedded.ts';
import { REDIS_MUTATIONS } from './redis.ts';

export const MUTATIONS: readonly Mutation[] = [...EMBEDDED_MUTATIONS, ...REDIS_MUTATIONS];
