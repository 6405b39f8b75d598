// SPDX-License-Identifier: Apache-2.0
/** Columns of text, as `ps` prints them: two blanks between, numbers to the right where the head begins with a blank. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[], indent = ''): string {
  const right = head.map((title) => title.startsWith(' '));
  const titles = head.map((title) => title.trim());
  const widths = titles.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    widths
      .map((width, column) =>
        right[column] === true ? (cells[column] ?? '').padStart(width) : (cells[column] ?? '').padEnd(width),
      )
      .join('  ')
      .trimEnd();
  return [titles, ...rows].map((cells) => `${indent}${line(cells)}\n`).join('');
}
