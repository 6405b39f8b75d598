// SPDX-License-Identifier: Apache-2.0
/** What the demo prints: bars that move on a terminal, plain lines elsewhere. */
export interface Screen {
  line(text: string): void;
  /** Shows how far the requests are; on a terminal it overwrites itself. */
  progress(state: Progress): void;
  /** Ends the moving part. */
  settle(): void;
  table(head: readonly string[], rows: readonly (readonly string[])[]): void;
}

export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly queued: number;
  readonly leased: number;
  readonly units: number;
}

const BAR = 28;

/** Where it is printed: what of a stream matters here. */
export interface Output {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

export function createScreen(out: Output): Screen {
  let shown = '';
  const settle = (): void => {
    if (out.isTTY === true && shown !== '') out.write('\n');
    shown = '';
  };
  return {
    line: (text) => {
      settle();
      out.write(`${text}\n`);
    },
    progress: (state) => {
      const text = bar(state);
      if (text === shown) return;
      if (out.isTTY === true) out.write(`\r\u001B[2K${text}`);
      else out.write(`${text}\n`);
      shown = text;
    },
    settle,
    table: (head, rows) => {
      settle();
      const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => (row[i] ?? '').length)));
      const format = (row: readonly string[]): string => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ');
      out.write(`${format(head).trimEnd()}\n${widths.map((width) => '-'.repeat(width)).join('  ')}\n`);
      for (const row of rows) out.write(`${format(row).trimEnd()}\n`);
    },
  };
}

function bar({ done, total, queued, leased, units }: Progress): string {
  const filled = Math.round((BAR * done) / total);
  const drawn = '#'.repeat(filled) + '.'.repeat(BAR - filled);
  return `  [${drawn}] ${done}/${total} done, ${queued} queued, ${leased} running, ${units} unit${units === 1 ? '' : 's'}`;
}
