// SPDX-License-Identifier: Apache-2.0
import type { Driver } from '../backend.ts';

/** A bug that the harness must find: one piece of text of the product replaced by another. */
export interface Mutation {
  readonly name: string;
  readonly driver: Driver;
  /** Path in the repository. */
  readonly file: string;
  /** Is there exactly once, or planting fails: who changes the product there changes it here. */
  readonly from: string;
  readonly to: string;
}
