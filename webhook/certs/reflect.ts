// SPDX-License-Identifier: Apache-2.0
// @peculiar/x509 keeps its algorithms in tsyringe, which asks for the Reflect metadata API as it loads (a proposal that never became
// ECMAScript): by it the types of constructors' parameters would be known. None of the classes put there takes any, and ours use no
// decorators, so the honest answer is "nothing is known". Imported before the library, by the one file that uses it.
const nothing = (): undefined => undefined;
for (const name of ['getMetadata', 'getOwnMetadata']) {
  if (!(name in Reflect)) Object.defineProperty(Reflect, name, { value: nothing, configurable: true, writable: true });
}
