// SPDX-License-Identifier: Apache-2.0
import { LEASE_EXPIRY_BUDGET, OVERDUE_STEP, REKEY_STEP, RETIRED_MEMORY_MS, UNIT_SILENT_MS } from '../../limits.ts';
import { core, ending, pending, rekeying, units } from './core.ts';

/**
 * ARGV from 4: unit, revision, current revision, max, lease ms, floor, linger ms, desired state, lanes ('01', '0', '1' or ''), nonces.
 * Answers verdict, recheck at (or ''), end of the leases, then per lease id, state, fixed part, ended attempts.
 */
export const LEASE = String.raw`${core}${pending}${ending}${rekeying}${units}
local unit, rev, current = ARGV[4], ARGV[5], ARGV[6]
local max, ends = tonumber(ARGV[7]), now + tonumber(ARGV[8])
local floor, linger, desired, lanes = tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11], ARGV[12]
local FIRST_NONCE = 13

local shut = closed()
local u = unit_of(unit)
if shut == '2' or (u and u[U_RETIRED] == 1) then return { 'refused', '', ends } end

local answer = { 'stay', '', ends }
-- Ids and their states side by side. All are read in one call: of a batch each redis.call costs more than what it fetches.
local function answer_with(ids, states, again)
  if #ids == 0 then return end
  local fixed = call('HMGET', base .. 'rq', unpack(ids))
  -- A first attempt has none before it.
  local ended = again and call('HMGET', base .. 'at', unpack(ids)) or {}
  for i, id in ipairs(ids) do
    local n = #answer
    answer[n + 1], answer[n + 2], answer[n + 3], answer[n + 4] = id, states[i], fixed[i], ended[i] or ''
  end
end

-- The client library sends a call again when the connection broke before its answer: what it was given then is still its own.
if u and max > 0 and u[U_NONCE] == ARGV[FIRST_NONCE] then
  local ids, states = {}, {}
  for i = 1, #u[U_GIVEN] / 16 do
    local id = string.sub(u[U_GIVEN], i * 16 - 15, i * 16)
    local r = load(id)
    if r and r[STATE] == LEASED and r[UNIT] == unit and r[NONCE] == ARGV[FIRST_NONCE + i - 1] then
      ids[#ids + 1], states[#states + 1] = id, pack(r)
    end
  end
  answer_with(ids, states, true)
  return answer
end

if not u or u[U_REV] ~= rev then
  if u then call('SREM', base .. 'ur:' .. u[U_REV], unit) end
  u = u or { rev, 0, 0, 0, '', '' }
  u[U_REV] = rev
  call('SADD', base .. 'ur:' .. rev, unit)
  call('ZADD', base .. 'uf', now + ${UNIT_SILENT_MS}, unit)
  -- With one more in the house another one may leave.
  if floor > 0 then ready = true end
end
u[U_SEEN] = now

-- Lanes in order: online work goes before batch work.
local function next_tenant()
  for lane in string.gmatch(lanes, '.') do
    local tenant = call('ZRANGE', base .. 'act:' .. lane .. ':' .. rev, 0, 0)[1]
    if tenant then return lane, tenant end
  end
end
-- As many as may go without a look at another tenant between them: one, or more when no other has work in this lane.
local function take_some(most)
  local lane, tenant = next_tenant()
  if not lane then return {} end
  if most > 1 and call('ZCARD', base .. 'act:' .. lane .. ':' .. rev) > 1 then most = 1 end
  local popped = call('ZPOPMIN', base .. 'q:' .. lane .. ':' .. rev .. ':' .. tenant, most)
  settle(lane, rev, tenant)
  local ids = {}
  for i = 1, #popped, 2 do ids[#ids + 1] = string.sub(popped[i], 7) end
  call('ZREM', base .. 'arr:' .. rev, unpack(ids))
  return ids
end

local given, states, budget, again = {}, {}, ${LEASE_EXPIRY_BUDGET}, false
local wanted = (shut or desired == 'Paused') and 0 or max
local function take()
  while #given < wanted and budget > 0 do
    local ids = take_some(math.min(wanted - #given, budget))
    if #ids == 0 then return end
    local packed = call('HMGET', k_st, unpack(ids))
    for i, id in ipairs(ids) do
      local r = unpack_(packed[i])
      if r[DEADLINE] > 0 then call('ZREM', base .. 'dl', id) end
      if r[DEADLINE] == 0 or r[DEADLINE] > now then
        again = again or r[EPOCH] > 0
        given[#given + 1] = id
        r[STATE], r[EPOCH], r[NONCE], r[UNIT], r[LEASED_AT] = LEASED, r[EPOCH] + 1, ARGV[FIRST_NONCE + #given - 1], unit, now
        states[#given] = pack(r)
      else
        finish(id, r, EXPIRED)
        budget = budget - 1
        -- Enough for one call; the event brings the unit back for the rest.
        if budget == 0 then ready = true end
      end
    end
  end
end
take()
if #given < max or max == 0 then
  -- Not enough: what ran out, and what no other unit will ever take, may be had too.
  end_overdue(${OVERDUE_STEP})
  rekey(current, ${REKEY_STEP})
  take()
end
if #given > 0 then
  local to_state, to_lease = {}, {}
  for i, id in ipairs(given) do
    to_state[i * 2 - 1], to_state[i * 2] = id, states[i]
    to_lease[i * 2 - 1], to_lease[i * 2] = ends, id
  end
  call('HSET', k_st, unpack(to_state))
  call('ZADD', k_lease, unpack(to_lease))
  answer_with(given, states, again)
end

local held
if #given > 0 then
  held = call('HINCRBY', base .. 'ul', unit, #given)
  u[U_IDLE], u[U_NONCE], u[U_GIVEN] = 0, ARGV[FIRST_NONCE], table.concat(given)
else
  held = holds(unit)
  -- Idle time starts when a unit asks in vain for the first time after its last lease, not when it was given that one.
  if held == 0 and u[U_IDLE] == 0 then u[U_IDLE] = now end
end

-- The table of verdict.ts.
local leave, recheck = false, ''
if held == 0 then
  if shut or desired == 'Paused' then
    leave = true
  elseif not next_tenant() then
    if desired == 'Draining' or rev ~= current then
      leave = true
    elseif call('SCARD', base .. 'ur:' .. current) > floor then
      if now >= u[U_IDLE] + linger then leave = true else recheck = u[U_IDLE] + linger end
    end
  end
end
if leave then
  u[U_RETIRED], answer[1] = 1, 'leave'
  call('SREM', base .. 'ur:' .. rev, unit)
  call('ZADD', base .. 'uf', now + ${RETIRED_MEMORY_MS}, unit)
end
answer[2] = recheck
save_unit(unit, u)
tell()
return answer
`;
