// SPDX-License-Identifier: Apache-2.0
/** The client went away in the middle of its body, or before its result came: there is nobody to answer. */
export class ClientGone extends Error {
  override readonly name = 'ClientGone';
}
