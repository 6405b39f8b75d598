// SPDX-License-Identifier: Apache-2.0
import type {
  DeadLetterFilter,
  DeadLetterPage,
  LivePage,
  Payload,
  Redrive,
  RedriveOutcome,
  RequestRecord,
} from '../lease-queue.ts';
import { decodeRecord, packId, resultValue, shareArgs, unpackId } from './codec.ts';
import { bufferOf, listOf, textOf } from './replies.ts';
import type { Run } from './scripts.ts';

/** Dead letters, and what recovery looks at. */
export class Letters {
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
  }

  async page(app: string, filter: DeadLetterFilter, limit: number, cursor = ''): Promise<DeadLetterPage> {
    const [score = '', last = ''] = cursor.split(':');
    const { tenant = '', kind = '', since = 0, until = '' } = filter;
    const args = [since, until, score, packId(last) ?? '', limit, tenant, kind];
    const [at, id, ...records] = listOf(await this.#run('letters', app, undefined, args));
    const letters = recordsOf(app, records);
    const from = textOf(at);
    return { letters, ...(from === '' ? {} : { cursor: `${from}:${idOf(id)}` }) };
  }

  async redrive(app: string, letters: readonly Redrive[], now?: number): Promise<readonly RedriveOutcome[]> {
    const args = letters.flatMap((one) => [
      packId(one.id) ?? '',
      packId(one.newId) ?? '',
      one.revision,
      ...shareArgs(one.share),
    ]);
    const reply = await this.#run('redrive', app, now, args);
    if (!Array.isArray(reply)) return letters.map(() => ({ kind: 'closed' }));
    return reply.map((one): RedriveOutcome => {
      const [word, ...parts] = listOf(one).map(bufferOf);
      const kind = textOf(word);
      if (kind !== 'redriven' && kind !== 'joined') return { kind: 'unknown' };
      return { kind, record: decodeRecord(app, parts) };
    });
  }

  async live(app: string, limit: number, cursor = ''): Promise<LivePage> {
    const [set = '', score = '', last = ''] = cursor.split('/');
    const [next, at, id, ...records] = listOf(
      await this.#run('live', app, undefined, [set, score, packId(last) ?? '', limit]),
    );
    const from = textOf(next);
    return {
      records: recordsOf(app, records),
      ...(from === '' ? {} : { cursor: `${from}/${textOf(at)}/${idOf(id)}` }),
    };
  }

  async salvage(app: string, id: string, result: Payload, now?: number): Promise<'committed' | 'lost'> {
    const packed = packId(id);
    if (packed === undefined) return 'lost';
    const word = await this.#run('salvage', app, now, [packed, result.key ?? '', resultValue(result)]);
    return textOf(word) as 'committed' | 'lost';
  }
}

function recordsOf(app: string, records: readonly unknown[]): RequestRecord[] {
  return records.map((parts) => decodeRecord(app, listOf(parts).map(bufferOf)));
}

function idOf(value: unknown): string {
  return unpackId(bufferOf(value) ?? Buffer.alloc(0));
}
