// SPDX-License-Identifier: Apache-2.0
/** What a process that was killed answers: nothing, ever. Code that waits for it is collected with it. */
export function never<T>(): Promise<T> {
  return new Promise<T>(() => {});
}
