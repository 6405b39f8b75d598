// SPDX-License-Identifier: Apache-2.0
// Reads one tenants document, given as text, and answers it or what is wrong with it.
import { parentPort, workerData } from 'node:worker_threads';
import { TenantsError, readTenants } from '#base/tenants.ts';
import type { ThreadAnswer } from './tenants-thread.ts';

function answer(text: string): ThreadAnswer {
  try {
    return { document: readTenants(text) };
  } catch (err) {
    if (!(err instanceof TenantsError)) throw err;
    const { field, problem, fix } = err;
    return { refused: { field, problem, fix } };
  }
}

parentPort?.postMessage(answer(String(workerData)), []);
