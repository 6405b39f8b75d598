// SPDX-License-Identifier: Apache-2.0
import type { Mutation } from './mutation.ts';

const driver = 'embedded';
const QUEUE = 'gateway/queue/embedded';

/** Bugs of the embedded driver. */
export const EMBEDDED_MUTATIONS: readonly Mutation[] = [
  {
    name: 'embedded-nonce-unchecked',
    driver,
    file: `${QUEUE}/step.ts`,
    from: 'request.nonce === held.token.nonce &&',
    to: '',
  },
  {
    name: 'embedded-lease-outlives-its-end',
    driver,
    file: `${QUEUE}/step.ts`,
    from: 'app.leases.delete(request.id);',
    to: 'if (request.losses > 0) app.leases.delete(request.id);',
  },
  {
    name: 'embedded-charge-not-corrected',
    driver,
    file: `${QUEUE}/fair-queue.ts`,
    from: 'const delta = actual - request.charged;',
    to: 'const delta = 0;',
  },
  {
    name: 'embedded-unit-keeps-its-count',
    driver,
    file: `${QUEUE}/step.ts`,
    from: 'unit.leases--;',
    to: '',
  },
  {
    name: 'embedded-tenant-keeps-its-count',
    driver,
    file: `${QUEUE}/fair-queue.ts`,
    from: 'tenant.inFlight--;',
    to: '',
  },
  {
    name: 'embedded-enqueue-forgotten',
    driver,
    file: `${QUEUE}/enqueueing.ts`,
    from: 'store.insertRequest(made);',
    to: 'if (made.seq % 5 > 0) store.insertRequest(made);',
  },
  {
    name: 'embedded-answered-before-commit',
    driver,
    file: `${QUEUE}/turn.ts`,
    from: 'setImmediate(() => this.#commit());',
    to: 'setImmediate(() => this.#answers.splice(0).forEach((one) => one.settle()));\n    setTimeout(() => this.#commit(), 20);',
  },
  {
    name: 'embedded-result-after-cancel',
    driver,
    file: `${QUEUE}/finishing.ts`,
    from: '} else if (live.cancelRequested) {',
    to: '} else if (live.epoch < 0) {',
  },
  {
    name: 'embedded-equal-request-not-joined',
    driver,
    file: `${QUEUE}/enqueueing.ts`,
    from: "return request.state === 'queued' || request.state === 'leased';",
    to: "return request.state === 'queued';",
  },
  {
    name: 'embedded-letter-redriven-twice',
    driver,
    file: `${QUEUE}/dead-letters.ts`,
    from: 'if (letter?.redrivenAs !== undefined) {',
    to: "if (letter?.redrivenAs !== undefined) letter.deadLetter = true;\n  if (letter?.redrivenAs === '') {",
  },
  {
    name: 'embedded-discarded-letter-stays',
    driver,
    file: `${QUEUE}/dead-letters.ts`,
    from: 'for (const letter of letters) leaveList(step, letter);',
    to: 'for (const letter of letters.slice(1)) leaveList(step, letter);',
  },
];
