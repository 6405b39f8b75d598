// SPDX-License-Identifier: Apache-2.0
import { EXIT_BEFORE_PROGRAM } from '../errors.ts';

/** For the pages of the commands that become another program. */
export const EXIT_OF_PROGRAM = [
  'that of PROGRAM, which ends as itself: killed by a signal, it is killed by that signal.',
  `${EXIT_BEFORE_PROGRAM}  penstock-vram itself failed, and PROGRAM was not started`,
  '126  PROGRAM cannot be executed',
  '127  PROGRAM is not there',
] as const;
