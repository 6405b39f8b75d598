// SPDX-License-Identifier: Apache-2.0
import type { Page } from './pages.ts';

/** One request of the demo, as its client sees it. */
export interface Sent {
  readonly page: Page;
  readonly ticket: string;
}

export interface Outcome {
  readonly status: number;
  readonly state: string;
  /** Text of the page, or the cause of the failure. */
  readonly text: string;
}

export interface Timing {
  readonly waitMs: number;
  readonly serviceMs: number;
}

/** How long one poll may block; the demo is over well before. */
const POLL_SECONDS = 20;

/** The demo's client: what curl would send. */
export interface DemoClient {
  /** Posts a page and does not wait. */
  send(page: Page): Promise<{ readonly status: number; readonly ticket: string; readonly body: string }>;
  /** Polls until the request has ended. */
  result(ticket: string): Promise<Outcome>;
  timing(ticket: string): Promise<Timing>;
}

export function createDemoClient(url: string, app: string): DemoClient {
  const base = `${url}/v1/${app}`;
  return {
    send: async ({ png }) => {
      const headers = { 'content-type': 'image/png', prefer: 'respond-async' };
      const answer = await fetch(`${base}/infer`, { method: 'POST', headers, body: new Uint8Array(png) });
      const body = await answer.text();
      if (answer.status > 202) throw new Error(`POST infer answered ${answer.status}: ${body}`);
      return { status: answer.status, ticket: answer.headers.get('penstock-ticket') ?? '', body };
    },
    result: async (ticket) => {
      for (;;) {
        const headers = { prefer: `wait=${POLL_SECONDS}` };
        const answer = await fetch(`${base}/status/${ticket}`, { headers });
        const body = await answer.text();
        if (answer.status !== 202) return outcome(answer, body);
      }
    },
    timing: async (ticket) => {
      const answer = await fetch(`${base}/requests/${ticket}`);
      const { created_at, attempts } = (await answer.json()) as RequestView;
      const last = attempts.at(-1);
      const leased = Date.parse(last?.leased_at ?? '');
      return { waitMs: leased - Date.parse(created_at), serviceMs: Date.parse(last?.ended_at ?? '') - leased };
    },
  };
}

interface RequestView {
  readonly created_at: string;
  readonly attempts: readonly { readonly leased_at: string; readonly ended_at?: string }[];
}

function outcome(answer: Response, body: string): Outcome {
  const state = answer.headers.get('penstock-state') ?? '';
  const document = JSON.parse(body) as { readonly text?: string; readonly detail?: string };
  return { status: answer.status, state, text: document.text ?? document.detail ?? '' };
}
