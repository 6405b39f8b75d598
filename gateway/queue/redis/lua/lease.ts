// SPDX-License-Identifier: Apache-2.0
import {
  LEASE_EXPIRY_BUDGET,
  MAX_BATCH,
  OVERDUE_STEP,
  REKEY_STEP,
  RETIRED_MEMORY_MS,
  UNIT_SILENT_MS,
} from '../../limits.ts';
import { core, ending, pending, rekeying, units } from './core.ts';

/** Arguments of one lease request. */
export const LEASE_ARGS = 10;

/** What the requests of a run share: units read once, and all leases of the run written and their bodies read together. */
const shared = String.raw`
local units_read, units_asked = {}, {}
local function unit_once(name)
  if units_read[name] == nil then units_read[name] = unit_of(name) or false end
  return units_read[name]
end
-- Leases given in this run that ul does not count yet.
local added = {}
local taken, to_state, to_lease, answer_of, place_of, again = {}, {}, {}, {}, {}, false
-- Of a batch each redis.call costs more than what it does.
local function write_leases()
  if #taken == 0 then return end
  call('HSET', k_st, unpack(to_state))
  call('ZADD', k_lease, unpack(to_lease))
  local fixed = call('HMGET', base .. 'rq', unpack(taken))
  -- A first attempt has none before it.
  local ended = again and call('HMGET', base .. 'at', unpack(taken)) or {}
  for i in ipairs(taken) do
    local answer, place = answer_of[i], place_of[i]
    answer[place], answer[place + 1] = fixed[i], ended[i] or ''
  end
  taken, to_state, to_lease, answer_of, place_of, again = {}, {}, {}, {}, {}, false
end
local function write_units()
  local list = {}
  for name, count in pairs(added) do call('HINCRBY', base .. 'ul', name, count) end
  for name in pairs(units_asked) do
    list[#list + 1] = name
    list[#list + 1] = pack(units_read[name])
  end
  if #list > 0 then call('HSET', base .. 'u', unpack(list)) end
end
local function give(answer, id, r, ends)
  local n, at = #answer, #taken + 1
  local s = pack(r)
  answer[n + 1], answer[n + 2], answer[n + 3], answer[n + 4] = id, s, '', ''
  taken[at], answer_of[at], place_of[at] = id, answer, n + 3
  to_state[at * 2 - 1], to_state[at * 2] = id, s
  to_lease[at * 2 - 1], to_lease[at * 2] = ends, id
  again = again or r[EPOCH] > 1
  if at == ${MAX_BATCH} then write_leases() end
end
`;

const taking = String.raw`
-- Lanes in order: online work goes before batch work.
local function next_tenant(q)
  for lane in string.gmatch(q.lanes, '.') do
    local tenant = call('ZRANGE', base .. 'act:' .. lane .. ':' .. q.rev, 0, 0)[1]
    if tenant then return lane, tenant end
  end
end
-- As many as may go without a look at another tenant between them: one, or more when no other has work in this lane.
local function take_some(q, most)
  local lane, tenant = next_tenant(q)
  if not lane then return {} end
  if most > 1 and call('ZCARD', base .. 'act:' .. lane .. ':' .. q.rev) > 1 then most = 1 end
  local popped = call('ZPOPMIN', base .. 'q:' .. lane .. ':' .. q.rev .. ':' .. tenant, most)
  settle(lane, q.rev, tenant)
  local ids = {}
  for i = 1, #popped, 2 do ids[#ids + 1] = string.sub(popped[i], 7) end
  call('ZREM', base .. 'arr:' .. q.rev, unpack(ids))
  return ids
end
local function take(q, answer, given)
  while #given < q.wanted and q.budget > 0 do
    local ids = take_some(q, math.min(q.wanted - #given, q.budget))
    if #ids == 0 then return end
    local packed = call('HMGET', k_st, unpack(ids))
    for i, id in ipairs(ids) do
      local r = unpack_(packed[i])
      if r[DEADLINE] > 0 then call('ZREM', base .. 'dl', id) end
      if r[DEADLINE] == 0 or r[DEADLINE] > now then
        given[#given + 1] = id
        local nonce = string.sub(q.nonces, #given * 16 - 15, #given * 16)
        r[STATE], r[EPOCH], r[NONCE], r[UNIT], r[LEASED_AT] = LEASED, r[EPOCH] + 1, nonce, q.unit, now
        give(answer, id, r, q.ends)
      else
        finish(id, r, EXPIRED)
        q.budget = q.budget - 1
        -- Enough for one call; the event brings the unit back for the rest.
        if q.budget == 0 then ready = true end
      end
    end
  end
end
`;

const asking = String.raw`
-- The client library sends a call again when the connection broke before its answer: what it was given then is still its own.
local function repeated(q, u, answer)
  write_leases()
  for i = 1, #u[U_GIVEN] / 16 do
    local id = string.sub(u[U_GIVEN], i * 16 - 15, i * 16)
    local r = load(id)
    if r and r[STATE] == LEASED and r[UNIT] == q.unit and r[NONCE] == string.sub(q.nonces, i * 16 - 15, i * 16) then
      local n = #answer
      answer[n + 1], answer[n + 2], answer[n + 3] = id, pack(r), call('HGET', base .. 'rq', id)
      answer[n + 4] = call('HGET', base .. 'at', id) or ''
    end
  end
  return answer
end
local function announce(q, u)
  if not u or u[U_REV] ~= q.rev then
    if u then call('SREM', base .. 'ur:' .. u[U_REV], q.unit) end
    u = u or { q.rev, 0, 0, 0, '', '' }
    u[U_REV] = q.rev
    call('SADD', base .. 'ur:' .. q.rev, q.unit)
    call('ZADD', base .. 'uf', now + ${UNIT_SILENT_MS}, q.unit)
    -- With one more in the house another one may leave.
    if q.floor > 0 then ready = true end
  end
  u[U_SEEN] = now
  units_read[q.unit], units_asked[q.unit] = u, true
  return u
end
-- The table of verdict.ts, for a unit that holds nothing. Answers whether it leaves, and when to ask again.
local function verdict(q, u)
  if shut or q.desired == 'Paused' then return true end
  if next_tenant(q) then return false end
  if q.desired == 'Draining' or q.rev ~= q.current then return true end
  if call('SCARD', base .. 'ur:' .. q.current) <= q.floor then return false end
  if now >= u[U_IDLE] + q.linger then return true end
  return false, u[U_IDLE] + q.linger
end
local searched = {}
local function lease(q)
  local answer = { 'stay', '', q.ends }
  local u = unit_once(q.unit)
  if shut == '2' or (u and u[U_RETIRED] == 1) then return { 'refused', '', q.ends } end
  if u and q.max > 0 and u[U_NONCE] == string.sub(q.nonces, 1, 16) then return repeated(q, u, answer) end
  u = announce(q, u)
  local given = {}
  take(q, answer, given)
  if (#given < q.max or q.max == 0) and not searched[q.current] then
    -- Not enough: what ran out, and what no other unit will ever take, may be had too.
    searched[q.current] = true
    end_overdue(${OVERDUE_STEP})
    rekey(q.current, ${REKEY_STEP})
    take(q, answer, given)
  end
  if #given > 0 then
    added[q.unit] = (added[q.unit] or 0) + #given
    u[U_IDLE], u[U_NONCE], u[U_GIVEN] = 0, string.sub(q.nonces, 1, 16), table.concat(given)
    return answer
  end
  if holds(q.unit) + (added[q.unit] or 0) > 0 then return answer end
  -- Idle time starts when a unit asks in vain for the first time after its last lease, not when it was given that one.
  if u[U_IDLE] == 0 then u[U_IDLE] = now end
  local leave, recheck = verdict(q, u)
  if leave then
    u[U_RETIRED], answer[1] = 1, 'leave'
    call('SREM', base .. 'ur:' .. q.rev, q.unit)
    call('ZADD', base .. 'uf', now + ${RETIRED_MEMORY_MS}, q.unit)
  end
  answer[2] = recheck or ''
  return answer
end
`;

/**
 * ARGV from 4, per request: unit, revision, current revision, max, lease ms, floor, linger ms, desired state, lanes ('01', '0', '1' or
 * ''), nonces (16 digits each, one after another). Answers for each a list: verdict, recheck at (or ''), end of the leases, then per
 * lease id, state, fixed part, ended attempts.
 */
export const LEASE = String.raw`${core}${pending}${ending}${rekeying}${units}
local shut = closed()
${shared}${taking}${asking}
local answers = {}
for a = 4, #ARGV, ${LEASE_ARGS} do
  local max, desired = tonumber(ARGV[a + 3]), ARGV[a + 7]
  answers[#answers + 1] = lease({
    unit = ARGV[a], rev = ARGV[a + 1], current = ARGV[a + 2], max = max, ends = now + tonumber(ARGV[a + 4]),
    floor = tonumber(ARGV[a + 5]), linger = tonumber(ARGV[a + 6]), desired = desired, lanes = ARGV[a + 8], nonces = ARGV[a + 9],
    wanted = (shut or desired == 'Paused') and 0 or max, budget = ${LEASE_EXPIRY_BUDGET}
  })
end
write_leases()
write_units()
tell()
return answers
`;
