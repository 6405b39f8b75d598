// SPDX-License-Identifier: Apache-2.0
import { core } from './core.ts';

/** ARGV from 4: ids. Answers for each: false where there is none, '' where it has never been leased, else its state and its ended attempts (or ''). */
export const OUTCOMES = String.raw`${core}
local ids = {}
for a = 4, #ARGV do ids[a - 3] = ARGV[a] end
local states, ended = read_all(k_st, ids), read_all(base .. 'at', ids)
local answers = {}
for i, id in ipairs(ids) do
  if states[i] then
    answers[i] = { states[i], ended[i] or '' }
  else
    answers[i] = call('HEXISTS', k_rq, id) == 1 and ''
  end
end
return { gen, answers }
`;
