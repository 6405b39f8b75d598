// SPDX-License-Identifier: Apache-2.0
import { OVERDUE_STEP, RETIRED_MEMORY_MS, RETIRED_SHOWN_MS, UNIT_SILENT_MS } from '../../limits.ts';
import { core, ending, pending, units } from './core.ts';

/** Arguments of one completion. */
export const COMPLETION_ARGS = 7;

/**
 * ARGV from 4: per completion unit, id, epoch, nonce, service µs, result key, result; of any number of units. What succeeded is written
 * together at the end: of a batch each redis.call costs more than what it writes.
 */
export const COMPLETE = String.raw`${core}${pending}${ending}
local PER = ${COMPLETION_ARGS}
local ids = {}
for a = 5, #ARGV, PER do ids[#ids + 1] = ARGV[a] end
local packed, records = call('HMGET', k_st, unpack(ids)), {}
for i, id in ipairs(ids) do
  -- One record for an id that is there twice: its second completion sees what the first one did.
  if packed[i] and not records[id] then records[id] = unpack_(packed[i]) end
end
local dropped, given_back = {}, {}
local to_result, to_state, to_fin = {}, {}, {}
local function complete(id, a)
  local r = records[id]
  if not r or not matches(r, ARGV[a - 1], ARGV[a + 1], ARGV[a + 2]) then return 'lost' end
  if r[STATE] == SUCCEEDED then return 'committed' end
  if r[STATE] == CANCELLED then return 'cancelled' end
  if r[STATE] > SUCCEEDED then return 'lost' end
  if r[STATE] == QUEUED then
    -- The lease ran out and nobody has it yet: the work is done, so it leaves the queue.
    unqueue(id, r)
  elseif r[CANCEL] == 1 then
    end_attempt(id, r, 'released', CANCELLED_MESSAGE)
    finish(id, r, CANCELLED)
    return 'cancelled'
  else
    dropped[#dropped + 1] = id
    given_back[r[UNIT]] = (given_back[r[UNIT]] or 0) + 1
  end
  r[SERVICE], r[RESULT_KEY] = tonumber(ARGV[a + 3]), ARGV[a + 4]
  r[STATE], r[FINISHED], r[CANCEL] = SUCCEEDED, now, 0
  local n = #to_state
  to_result[n + 1], to_result[n + 2] = id, ARGV[a + 5]
  to_state[n + 1], to_state[n + 2] = id, pack(r)
  to_fin[n + 1], to_fin[n + 2] = now + r[RETENTION], id
  done[#done + 1] = id
  return 'committed'
end
local answers = {}
for i, id in ipairs(ids) do answers[i] = complete(id, 5 + (i - 1) * PER) end
if #dropped > 0 then
  call('ZREM', k_lease, unpack(dropped))
  for unit, count in pairs(given_back) do call('HINCRBY', base .. 'ul', unit, -count) end
end
if #to_state > 0 then
  call('HSET', base .. 'rs', unpack(to_result))
  call('HSET', k_st, unpack(to_state))
  call('ZADD', base .. 'fin', unpack(to_fin))
end
tell()
return answers
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
local answers = { now }
for a = 6, #ARGV, 3 do
  local r = alive and load(ARGV[a])
  if r and r[STATE] == LEASED and matches(r, unit, ARGV[a + 1], ARGV[a + 2]) then
    call('ZADD', k_lease, ends, ARGV[a])
    answers[#answers + 1] = 1 + r[CANCEL]
  else
    answers[#answers + 1] = 0
  end
end
return answers
`;

/** fail and release. ARGV from 4: unit, then per lease id, epoch, nonce, kind of the cause, message. */
export const GIVE_BACK = String.raw`${core}${pending}${ending}
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
tell()
return answers
`;

/** ARGV[4]: id. */
export const CANCEL = String.raw`${core}${pending}${ending}
local id = ARGV[4]
local r = load(id)
if not r then return 'unknown' end
if r[STATE] > LEASED then return 'final' end
if r[STATE] == QUEUED then
  unqueue(id, r)
  finish(id, r, CANCELLED)
  tell()
  return 'cancelled'
end
r[CANCEL] = 1
save(id, r)
return 'cancelling'
`;

/** ARGV[4]: id. */
export const GET = String.raw`${core}
local id = ARGV[4]
local s = call('HGET', k_st, id)
if not s then return false end
return { id, s, call('HGET', base .. 'rq', id), call('HGET', base .. 'rs', id) or '', call('HGET', base .. 'at', id) or '' }
`;

/** ARGV[4]: unit. */
export const RETIRE = String.raw`${core}${pending}${ending}${units}
local unit = ARGV[4]
end_overdue(${OVERDUE_STEP})
local answer = 'retired'
if holds(unit) > 0 then
  answer = 'busy'
elseif closed() ~= '2' then
  local u = unit_of(unit) or { '', 0, 0, now, '', '' }
  if u[U_RETIRED] == 0 then
    u[U_RETIRED] = 1
    save_unit(unit, u)
    call('SREM', base .. 'ur:' .. u[U_REV], unit)
    call('ZADD', base .. 'uf', now + ${RETIRED_MEMORY_MS}, unit)
  end
  ready = true
end
tell()
return answer
`;

/** ARGV from 4: id, epoch, nonce, object key, when it is looked at in ms from now. */
export const NOTE = String.raw`${core}
local id = ARGV[4]
local r = load(id)
if not r or r[STATE] >= SUCCEEDED or not matches(r, r[UNIT], ARGV[5], ARGV[6]) then return 0 end
call('ZADD', base .. 'obj', now + tonumber(ARGV[8]), '+' .. struct.pack('>I4', r[EPOCH]) .. id .. ARGV[7])
return 1
`;

/** Answers leased, oldest (or ''), pairs of revision and queued, and of each unit: name, revision, leases, last seen, retired. */
export const DEMAND = String.raw`${core}${units}
local queued, oldest = {}, nil
for _, rev in ipairs(call('SMEMBERS', base .. 'revs')) do
  local head = call('ZRANGE', base .. 'arr:' .. rev, 0, 0, 'WITHSCORES')
  if head[2] then
    queued[#queued + 1] = rev
    queued[#queued + 1] = call('ZCARD', base .. 'arr:' .. rev)
    if not oldest or tonumber(head[2]) < oldest then oldest = tonumber(head[2]) end
  end
end
-- By the time at which they are forgotten: live units first, then those retired of late. The long retired lie between.
local all = {}
local function tell_of(names)
  for _, name in ipairs(names) do
    local u = unit_of(name)
    if u then all[#all + 1] = { name, u[U_REV], holds(name), u[U_SEEN], u[U_RETIRED] } end
  end
end
tell_of(call('ZRANGEBYSCORE', base .. 'uf', '-inf', now + ${UNIT_SILENT_MS}))
tell_of(call('ZRANGEBYSCORE', base .. 'uf', now + ${RETIRED_MEMORY_MS - RETIRED_SHOWN_MS}, '+inf'))
return { call('ZCARD', k_lease), oldest or '', queued, all }
`;
