// SPDX-License-Identifier: Apache-2.0
import type { ServedApp } from '../../apps/app-source.ts';
import { gatewayError } from '../../errors.ts';
import type { BodyFault } from './verdict.ts';

export function schemaUnusable(app: ServedApp, reason: string): Error {
  return gatewayError(
    'app-misconfigured',
    `spec.request.schema of ${app.namespace}.${app.name} cannot be used: ${reason}`,
    {
      field: 'path.app',
      fix: 'correct spec.request.schema of the app: no body can be checked against it',
    },
  );
}

export function bodyInvalid(errors: readonly BodyFault[], more: boolean): Error {
  const [first] = errors;
  const where = first === undefined || first.pointer === '' ? 'the body' : first.pointer;
  return gatewayError('body-invalid', `${where}: ${first?.detail ?? 'does not fit the schema'}`, {
    field: 'body',
    errors,
    ...(more ? { more_errors: true } : {}),
    fix: 'correct the members that errors names (JSON pointers) and send it again; spec.request.schema of the app says what it takes',
  });
}

export function checkOverrun(): Error {
  return gatewayError('check-overrun', 'checking the body against the schema of the app took too long', {
    field: 'body',
    fix: 'send shorter texts, or simplify the patterns in spec.request.schema: one of them backtracks without end',
  });
}

export function checksBusy(): Error {
  return gatewayError('overloaded', 'too many bodies wait for their check; nothing was stored', {
    fix: 'send it again after Retry-After seconds',
    headers: { 'retry-after': '1' },
  });
}

export function notJson(): Error {
  return gatewayError('unsupported-media-type', 'the app checks its bodies against a JSON Schema', {
    field: 'header:Content-Type',
    fix: 'send JSON with Content-Type: application/json, or a type that ends in +json',
  });
}
