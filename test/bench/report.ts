// SPDX-License-Identifier: Apache-2.0
/** Where a benchmark tells what it measured. */
export interface Report {
  /** `ratio <name> <value> goal <op><number>`: read by machines, so its form is fixed. */
  ratio(name: string, value: number, op: '>=' | '<=', goal: number): void;
  /** A line for people. */
  note(text: string): void;
  /** Goals missed so far. */
  missed(): readonly string[];
}

export function createReport(write: (line: string) => void): Report {
  const missed: string[] = [];
  return {
    ratio: (name, value, op, goal) => {
      // The rounded value is judged, so that no line contradicts the verdict.
      const shown = Number(value.toFixed(2));
      if (!(op === '>=' ? shown >= goal : shown <= goal)) missed.push(name);
      write(`ratio ${name} ${shown} goal ${op}${goal}`);
    },
    note: (text) => write(`# ${text}`),
    missed: () => missed,
  };
}
