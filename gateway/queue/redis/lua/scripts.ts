// SPDX-License-Identifier: Apache-2.0
import {
  DEAD_LETTER_RETENTION_MS,
  OVERDUE_STEP,
  RETIRED_MEMORY_MS,
  RETIRED_SHOWN_MS,
  UNIT_SILENT_MS,
} from '../../limits.ts';
import { core, units } from './core.ts';
import { commit, costs, fair } from './fair.ts';
import { ending, finishing, pending } from './requests.ts';

/** What a script needs to change requests. */
const changing = core + fair + costs + pending + finishing + ending(DEAD_LETTER_RETENTION_MS) + commit;

/** Arguments of one completion. */
export const COMPLETION_ARGS = 7;

/**
 * ARGV from 4: per completion unit, id, epoch, nonce, service µs, result key, result; of any number of units. What succeeded is written
 * together at the end: of a batch each redis.call costs more than what it writes.
 */
export const COMPLETE = String.raw`${changing}
local PER = ${COMPLETION_ARGS}
local ids, names, holders = {}, {}, {}
for a = 5, #ARGV, PER do ids[#ids + 1] = ARGV[a] end
local packed, records = read_all(k_st, ids), {}
for i, id in ipairs(ids) do
  -- One record for an id that is there twice: its second completion sees what the first one did.
  if packed[i] and not records[id] then
    records[id] = from_state(packed[i])
    local r = records[id]
    if r[STATE] <= LEASED then names[#names + 1], holders[#holders + 1] = r[TENANT], r[UNIT] end
  end
end
fetch_tenants(names)
if #holders > 0 then fetch_held(holders) end
local dropped = {}
local to_state, to_fin = {}, {}
local function complete(id, a, stored)
  local r = records[id]
  if not r or not matches(r, ARGV[a - 1], ARGV[a + 1], ARGV[a + 2]) then return 'lost' end
  if r[STATE] == SUCCEEDED then return 'repeated' end
  if r[STATE] == CANCELLED then return 'cancelled' end
  if r[STATE] > SUCCEEDED then return 'lost' end
  if r[STATE] == LEASED and r[CANCEL] == 1 then
    end_attempt(id, r, 'released', CANCELLED_TEXT)
    finish(id, r, CANCELLED)
    return 'cancelled'
  end
  local micros = number(ARGV[a + 3])
  -- The lease ran out and nobody has it yet: the work is done, so it leaves the queue.
  if r[STATE] == QUEUED then unqueue(id, r) end
  correct(r, floor(micros * r[FRACTION] / WHOLE_GPU))
  learn(r, micros)
  if r[STATE] == LEASED then
    dropped[#dropped + 1] = id
    give_room(r)
  end
  r[SERVICE], r[RESULT_KEY] = micros, ARGV[a + 4]
  r[STATE], r[FINISHED], r[CANCEL] = SUCCEEDED, now, 0
  local n = #to_state
  to_state[n + 1], to_state[n + 2] = id, fixed_bytes(stored) .. state_part(r) .. ARGV[a + 5]
  to_fin[n + 1], to_fin[n + 2] = text(now + r[RETENTION]), id
  done[#done + 1] = id
  return 'committed'
end
local answers = {}
for i, id in ipairs(ids) do answers[i] = complete(id, 5 + (i - 1) * PER, packed[i]) end
write_all('ZREM', k_lease, dropped)
write_all('HSET', k_st, to_state)
write_all('ZADD', base .. 'fin', to_fin)
commit()
tell()
return { gen, answers }
`;

/** ARGV from 4: unit, lease ms, then per lease id, epoch, nonce. Answers now, then 0 lost, 1 extended, 2 extended and to be cancelled. */
export const EXTEND = String.raw`${core}${units}
local unit, ends = ARGV[4], now + tonumber(ARGV[5])
local u = unit_of(unit)
local alive = u and u[U_RETIRED] == 0
if alive then
  u[U_SEEN] = now
  save_unit(unit, u)
end
local ids, answers, to_lease = {}, { now }, {}
for a = 6, #ARGV, 3 do ids[#ids + 1] = ARGV[a] end
local packed = alive and read_all(k_st, ids) or {}
for i, id in ipairs(ids) do
  local a, r = 3 + i * 3, packed[i] and from_state(packed[i])
  if r and r[STATE] == LEASED and matches(r, unit, ARGV[a + 1], ARGV[a + 2]) then
    to_lease[#to_lease + 1], to_lease[#to_lease + 2] = ends, id
    answers[i + 1] = 1 + r[CANCEL]
  else
    answers[i + 1] = 0
  end
end
if #to_lease > 0 then
  write_all('ZADD', k_lease, to_lease)
  gen = call('HINCRBY', k_m, 'gen', 1)
end
return { gen, answers }
`;

/** fail and release. ARGV from 4: unit, then per lease id, epoch, nonce, kind of the cause, message. */
export const GIVE_BACK = String.raw`${changing}
local unit = ARGV[4]
local function give_back(a)
  local id, kind, message = ARGV[a], ARGV[a + 3], ARGV[a + 4]
  local r = load(id)
  if not r or r[STATE] ~= LEASED or not matches(r, unit, ARGV[a + 1], ARGV[a + 2]) then return 'lost' end
  end_attempt(id, r, kind, message)
  r[NONCE] = ''
  if kind == 'released' then return requeue(id, r) end
  if kind == 'lost' then return spend_loss(id, r) end
  r[FAILURES] = r[FAILURES] + 1
  if r[CANCEL] == 1 or (kind ~= 'input' and r[FAILURES] < r[MAX_ATTEMPTS]) then return requeue(id, r) end
  if kind ~= 'input' then return die(id, r) end
  finish(id, r, FAILED)
  return 'failed'
end
local answers = {}
for a = 5, #ARGV, 5 do answers[#answers + 1] = give_back(a) end
commit()
tell()
return { gen, answers }
`;

/** ARGV[4]: id. */
export const CANCEL_REQUEST = String.raw`${changing}
local id = ARGV[4]
local r = load(id)
if not r then return { gen, 'unknown' } end
if r[STATE] > LEASED then return { gen, 'final' } end
local answer = 'cancelling'
if r[STATE] == QUEUED then
  unqueue(id, r)
  finish(id, r, CANCELLED)
  answer = 'cancelled'
elseif r[CANCEL] == 0 then
  r[CANCEL] = 1
  save(id, r)
end
commit()
tell()
return { gen, answer }
`;

/** ARGV[4]: id. */
export const GET = String.raw`${core}
local answer = whole('', ARGV[4])
if not answer[4] then return { gen, false } end
table.remove(answer, 1)
return { gen, answer }
`;

/** ARGV[4]: unit. */
export const RETIRE = String.raw`${changing}${units}
local unit = ARGV[4]
end_overdue(${OVERDUE_STEP})
local answer = 'retired'
if held_by(unit) > 0 then
  answer = 'busy'
elseif closed ~= '2' then
  local u = unit_of(unit) or { '', 0, 0, now, '', '', 0 }
  if u[U_RETIRED] == 0 then
    u[U_RETIRED], changed = 1, true
    save_unit(unit, u)
    call('SREM', base .. 'ur:' .. u[U_REV], unit)
    call('ZADD', base .. 'uf', now + ${RETIRED_MEMORY_MS}, unit)
  end
  ready = true
end
commit()
tell()
return { gen, answer }
`;

/** ARGV from 4: id, epoch, nonce, object key, when it is looked at in ms from now. */
export const NOTE = String.raw`${core}
local id = ARGV[4]
local r = load(id)
if not r or r[STATE] >= SUCCEEDED or not matches(r, r[UNIT], ARGV[5], ARGV[6]) then return { gen, 0 } end
call('ZADD', base .. 'obj', now + tonumber(ARGV[8]), '+' .. struct.pack('>I4', r[EPOCH]) .. id .. ARGV[7])
return { call('HINCRBY', k_m, 'gen', 1), 1 }
`;

/** ARGV from 4, per tenant: name, weight, cap, bound on queued (-1 = none). */
export const SHARES = String.raw`${core}${fair}${costs}${commit}
local names = {}
for a = 4, #ARGV, 4 do names[#names + 1] = ARGV[a] end
fetch_tenants(names)
local idle = app[A_LEASED] == 0 and not next(queued)
for i, name in ipairs(names) do
  local a, t = i * 4, tenants[name]
  if not idle and known(t) then set_share(t, tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])) end
end
commit()
tell()
return { gen, true }
`;

/** Answers leased, oldest (or ''), pairs of revision and queued, and of each unit: name, revision, leases, last seen, retired. */
export const DEMAND = String.raw`${core}${units}
local app = m.s and unpack_(m.s)
local waiting, oldest = {}, nil
for place, n in pairs(app and app[A_QUEUED] or {}) do
  waiting[#waiting + 1] = string.sub(place, 3)
  waiting[#waiting + 1] = n
  local at = tonumber(call('ZRANGE', base .. 'arr:' .. place, 0, 0, 'WITHSCORES')[2])
  -- None where data was lost: the next expire step counts anew.
  if at then oldest = min(oldest or at, at) end
end
-- By the time at which they are forgotten: live units first, then those retired of late. The long retired lie between, and at the end
-- of their time before them. A clock that was set back makes no live unit vanish: an hour of room.
local all = {}
local function tell_of(names, live_only)
  for _, name in ipairs(names) do
    local u = unit_of(name)
    if u and not (live_only and u[U_RETIRED] == 1) then all[#all + 1] = { name, u[U_REV], tonumber(call('HGET', base .. 'ul', name) or 0), u[U_SEEN], u[U_RETIRED] } end
  end
end
tell_of(call('ZRANGEBYSCORE', base .. 'uf', '-inf', now + ${UNIT_SILENT_MS + 3_600_000}), true)
tell_of(call('ZRANGEBYSCORE', base .. 'uf', now + ${RETIRED_MEMORY_MS - RETIRED_SHOWN_MS}, '+inf'))
return { gen, { call('ZCARD', k_lease), oldest or '', waiting, all } }
`;
