// SPDX-License-Identifier: Apache-2.0
/**
 * Every error of the operator's own, by code; errors of the API server are KubeError.
 * `placement-gone`: it disappeared between decision and action. `name-taken`: an object under a unit's name is somebody else's.
 * `gateway-*`: no answer, an error as answer, an answer of another shape. `issuer-malformed`: the Secret with the issuer's keys
 * cannot be read. `actions-failed`: some unit actions failed and are tried again. `not-leading`: another replica acts.
 */
export type OperatorErrorCode =
  | 'placement-gone'
  | 'name-taken'
  | 'gateway-unreachable'
  | 'gateway-refused'
  | 'gateway-malformed'
  | 'issuer-malformed'
  | 'actions-failed'
  | 'not-leading';

export class OperatorError extends Error {
  readonly code: OperatorErrorCode;

  constructor(code: OperatorErrorCode, detail: string, options?: ErrorOptions) {
    super(detail, options);
    this.name = 'OperatorError';
    this.code = code;
  }
}

/** @param detail a whole sentence for people; the code says the kind */
export function operatorError(code: OperatorErrorCode, detail: string, cause?: unknown): OperatorError {
  return new OperatorError(code, detail, cause === undefined ? {} : { cause });
}
