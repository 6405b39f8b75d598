// SPDX-License-Identifier: Apache-2.0
import type { Command } from '../context.ts';
export const doctor: Command = {
  name: 'doctor',
  summary: 'x',
  help: { synopsis: [], description: [], options: [], examples: [] },
  run: () => 0,
};
