// SPDX-License-Identifier: Apache-2.0
import { DEAD_LETTER_RETENTION_MS } from '../../limits.ts';
import { core, unlisting } from './core.ts';
import { admission, joining } from './enqueue.ts';
import { commit, costs, fair } from './fair.ts';
import { ending, finishing, pending } from './requests.ts';

const changing = core + fair + costs + pending + finishing + ending(DEAD_LETTER_RETENTION_MS) + commit;

/** Arguments of one redrive. */
const REDRIVE_ARGS = 6;

const paging = String.raw`
-- Members behind (score, member), at most limit, with their scores.
local function page(key, score, last, high, limit)
  local rank, stop = call('ZCOUNT', key, '-inf', '(' .. score), 0
  -- The last one may have gone meanwhile, or stand in another set: its place among those of its score is looked for.
  if last ~= '' then stop = call('ZCOUNT', key, '-inf', score) end
  while rank < stop do
    local mid = math.floor((rank + stop) / 2)
    if before(last, call('ZRANGE', key, mid, mid)[1]) then stop = mid else rank = mid + 1 end
  end
  local list, flat_ = {}, call('ZRANGE', key, rank, rank + limit - 1, 'WITHSCORES')
  for i = 1, #flat_, 2 do
    if high ~= '' and tonumber(flat_[i + 1]) >= tonumber(high) then break end
    list[#list + 1] = { flat_[i], flat_[i + 1] }
  end
  return list
end
-- The body's bytes stay behind: the driver's part begins with the length of what comes before them.
local function without_bytes(s)
  local at = struct.unpack('>H', s)
  return string.sub(s, 1, at + 2 + struct.unpack('>I2', s, at + 1))
end
`;

/**
 * ARGV from 4: died since, died until (or ''), score and id of the last one seen (or ''), limit, tenant (or ''), kind (or '').
 * Of a tenant it looks at nobody else's: neither time nor cursor may tell of them. Answers score and id of the last one looked at
 * (or '' at the end), then records.
 */
export const LETTERS = String.raw`${core}${paging}
local tenant, kind = ARGV[9], ARGV[10]
local limit = tonumber(ARGV[8])
local since = ARGV[6] ~= '' and ARGV[6] or ARGV[4]
local letters = page(base .. (tenant == '' and 'dead' or 'dlt:' .. tenant), since, ARGV[7], ARGV[5], limit + 1)
local answer = { '', '' }
if #letters > limit then
  letters[#letters] = nil
  local last = letters[limit]
  answer = { last[2], last[1] }
end
for _, one in ipairs(letters) do
  local record = whole('', one[1])
  local line = string.match(record[5], '[^\n]*$')
  if kind == '' or cjson.decode(line)[5] == kind then
    table.remove(record, 1)
    record[3] = without_bytes(record[3])
    answer[#answer + 1] = record
  end
end
return { gen, answer }
`;

/**
 * ARGV from 4: 'lease' or 'arr', score and id of the last one seen (or ''), limit. Answers the same to go on from (or ''), then records.
 * Leases first: one that runs out during the walk is seen again where it waits then. What is queued by its creation, wherever it stands:
 * one that moves to another revision meanwhile keeps its place in the walk.
 */
export const LIVE = String.raw`${core}${paging}
local limit, walk = tonumber(ARGV[7]), ARGV[4]
local answer, seen = { '', '', '' }, 0
local function show(list, name)
  for i = 1, min(#list, limit - seen) do
    local record = whole('', list[i][1])
    table.remove(record, 1)
    -- Not what has lost its record: there is nothing to show of it.
    if record[3] then
      record[3] = without_bytes(record[3])
      answer[#answer + 1] = record
    end
    answer[1], answer[2], answer[3] = name, list[i][2], list[i][1]
  end
  seen = seen + #list
end
if walk ~= 'arr' then
  local on = walk == 'lease'
  show(page(k_lease, on and ARGV[5] or '-inf', on and ARGV[6] or '', '', limit), 'lease')
end
if seen < limit then
  local on, waiting = walk == 'arr', {}
  for place in pairs(m.s and unpack_(m.s)[A_QUEUED] or {}) do
    for _, one in ipairs(page(base .. 'arr:' .. place, on and ARGV[5] or '-inf', on and ARGV[6] or '', '', limit - seen)) do
      waiting[#waiting + 1] = one
    end
  end
  table.sort(waiting, function(a, b)
    local x, y = tonumber(a[2]), tonumber(b[2])
    return x < y or (x == y and before(a[1], b[1]))
  end)
  show(waiting, 'arr')
end
if seen < limit then answer[1], answer[2], answer[3] = '', '', '' end
return { gen, answer }
`;

/**
 * ARGV from 4, per letter: id, new id, revision, share as in ENQUEUE. Answers 'closed', or for each 'unknown' or a record with
 * 'redriven' or 'joined'.
 */
export const REDRIVE = String.raw`${changing}${unlisting}${joining}${admission}
if closed then return { gen, 'closed' } end
local function hex(id)
  return (string.gsub(id, '.', function(c) return string.format('%02x', string.byte(c)) end))
end
local function unhex(text)
  return (string.gsub(text, '..', function(two) return string.char(tonumber(two, 16)) end))
end
local function leave_list(id, r, other)
  r[DEAD], r[REDRIVEN] = 0, hex(other)
  unlist(id, r)
  call('ZADD', base .. 'fin', r[FINISHED] + r[RETENTION], id)
  save(id, r)
end
local function redrive(a)
  local id, new, rev = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local r = load(id)
  local earlier = r and r[REDRIVEN] ~= '' and unhex(r[REDRIVEN])
  if earlier and call('HEXISTS', k_rq, earlier) == 1 then return whole('redriven', earlier) end
  if not r or r[DEAD] == 0 then return { 'unknown' } end
  local entry = call('HGET', base .. 'dd', r[DIGEST])
  local equal = entry and string.sub(entry, 1, 16)
  if equal and equal ~= id and joinable(equal) then
    leave_list(id, r, equal)
    return whole('joined', equal)
  end
  local s = call('HGET', k_rq, id)
  -- Its record was lost, and its body with it.
  if not s then return { 'unknown' } end
  admitted(r[TENANT], a + 3)
  local fixed, own = from_fixed(s), string.sub(s, #fixed_bytes(s) + 1)
  app[A_SEQ] = app[A_SEQ] + 1
  fixed[SEQ], fixed[DEADLINE], fixed[CREATED] = app[A_SEQ], 0, now
  fixed[SCORE] = fixed[SCORE] - fixed[SCORE] % SCORE_STEP + NO_DEADLINE
  -- The object goes over to the new request.
  fixed[BODY_KEY], r[BODY_KEY] = r[BODY_KEY], ''
  call('HSET', k_rq, new, fixed_part(fixed) .. own)
  call('HSET', base .. 'dd', r[DIGEST], equal == id and new .. string.sub(entry, 17) or new)
  leave_list(id, r, new)
  local made = load(new)
  -- The key begins with the revision of the fixed part, which stays; work that moves to another one has that in its state.
  if made[REV] ~= rev then
    made[REV] = rev
    save(new, made)
  end
  queue(new, made)
  return whole('redriven', new)
end
local answers = {}
for a = 4, #ARGV, ${REDRIVE_ARGS} do answers[#answers + 1] = redrive(a) end
commit()
tell()
return { gen, answers }
`;

/** ARGV from 4: ids. Answers how many were dead letters. */
export const DISCARD = String.raw`${core}${unlisting}
local n = 0
for a = 4, #ARGV do
  local id = ARGV[a]
  local r = load(id)
  if r and r[DEAD] == 1 then
    r[DEAD] = 0
    save(id, r)
    unlist(id, r)
    call('ZADD', base .. 'fin', r[FINISHED] + r[RETENTION], id)
    n = n + 1
  end
end
if n > 0 then gen = call('HINCRBY', k_m, 'gen', 1) end
return { gen, n }
`;

/** ARGV from 4: id, result key, result. A result in the object store whose commit was lost with the end of the queue's log. */
export const SALVAGE = String.raw`${changing}
local id = ARGV[4]
local r = load(id)
if not r or r[STATE] > LEASED then return { gen, 'lost' } end
if r[STATE] == QUEUED then
  unqueue(id, r)
else
  drop_lease(id, r)
  if r[CANCEL] == 1 then
    finish(id, r, CANCELLED)
    commit()
    tell()
    return { gen, 'lost' }
  end
end
r[STATE], r[FINISHED], r[CANCEL], r[RESULT_KEY], r[STORED], changed = SUCCEEDED, now, 0, ARGV[5], 1, true
call('HSET', k_st, id, whole_state(r) .. ARGV[6])
call('ZADD', base .. 'fin', now + r[RETENTION], id)
done[1] = id
commit()
tell()
return { gen, 'committed' }
`;

/** ARGV[4]: raise to at least this (or ''). */
export const GENERATION = String.raw`${core}
local least = tonumber(ARGV[4])
if least and least > gen then
  gen = least
  call('HSET', k_m, 'gen', string.format('%.0f', gen))
end
return { gen, gen }
`;
