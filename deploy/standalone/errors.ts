// SPDX-License-Identifier: Apache-2.0
/** Standalone cannot start with this input; the message is for the person at the terminal. */
export class UsageError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UsageError';
  }
}
