// SPDX-License-Identifier: Apache-2.0
import {
  DEAD_LETTER_RETENTION_MS,
  DRAIN_SILENT_MS,
  LEASE_EXPIRY_BUDGET,
  MAX_BATCH,
  OVERDUE_STEP,
  REKEY_STEP,
  RETIRED_MEMORY_MS,
  SUSPECT_PATIENCE_MS,
  UNIT_SILENT_MS,
} from '../../limits.ts';
import { core, units } from './core.ts';
import { commit, costs, fair } from './fair.ts';
import { mending } from './mending.ts';
import { picking, suspects } from './picking.ts';
import { ending, finishing, pending, rekeying } from './requests.ts';

/** Arguments of one lease request. */
export const LEASE_ARGS = 4;

/** What the requests of a run share: units read once, and all leases of the run written and their bodies read together. */
const shared = String.raw`
local units_read, units_asked = {}, {}
local function fetch_units(names)
  for i, s in ipairs(read_all(base .. 'u', names)) do units_read[names[i]] = s and unit_from(s) end
  fetch_held(names)
end
local function unit_once(name)
  if units_read[name] == nil then units_read[name] = unit_of(name) or false end
  return units_read[name]
end
local taken, arrived, stored, lost = {}, {}, {}, {}
-- The state of all whose first attempt it is; their fixed parts are copied as they stand.
local first_attempt = new_state()
local function write_leases()
  for place, gone in pairs(arrived) do write_all('ZREM', base .. 'arr:' .. place, gone) end
  arrived = {}
  if #taken == 0 then return end
  local ids, to_state, to_lease = {}, {}, {}
  for i, one in ipairs(taken) do ids[i] = one[2] end
  local fixed = read_all(k_rq, ids)
  -- A first attempt has none before it.
  local states = #stored > 0 and read_all(k_st, ids)
  local ended = #stored > 0 and read_all(base .. 'at', ids)
  for i, one in ipairs(taken) do
    local id, answer, at, s = one[2], one[8], one[6], fixed[i] or ''
    if fixed[i] then
      local before_ = states and states[i]
      local r, head = first_attempt, s
      if before_ then r, head = from_state(before_), before_ end
      r[STATE], r[EPOCH], r[NONCE], r[UNIT], r[LEASED_AT] = LEASED, before_ and r[EPOCH] + 1 or 1, one[3], one[1], now
      r[FRACTION], r[CHARGED], r[PERIOD], r[STORED] = one[9], one[4], one[5], 1
      local n, state = #to_state, fixed_bytes(head) .. state_part(r)
      answer[at + 1] = state
      to_state[n + 1], to_state[n + 2] = id, state
      to_lease[n + 1], to_lease[n + 2] = one[10], id
    else
      answer[at + 1], lost[#lost + 1] = '', one
    end
    answer[at], answer[at + 2], answer[at + 3] = id, s, ended and ended[i] or ''
  end
  write_all('HSET', k_st, to_state)
  write_all('ZADD', k_lease, to_lease)
  taken, stored = {}, {}
end
-- Taken, and without its record, as lost data may leave it: it costs those beside it nothing.
local function drop_lost()
  -- It may have been counted once too often, or twice given up.
  if #lost > 0 and m.mended then call('HDEL', k_m, 'mended') end
  for i = #lost, 1, -1 do
    local unit, t, at = lost[i][1], lost[i][7], lost[i][6]
    for _ = 1, 4 do table.remove(lost[i][8], at) end
    local was = parked(t)
    t[T_HELD], app[A_LEASED] = t[T_HELD] - 1, app[A_LEASED] - 1
    hold(unit, -1)
    rejudge(t, was)
    local id = lost[i][2]
    local s = call('HGET', k_st, id)
    local digest = s and from_state(s)[DIGEST]
    local entry = digest and call('HGET', base .. 'dd', digest)
    if entry and string.sub(entry, 1, 16) == id then call('HDEL', base .. 'dd', digest) end
    call('HDEL', k_st, id)
    call('HDEL', base .. 'at', id)
  end
end
local function write_units()
  local list = {}
  for name in pairs(units_asked) do
    list[#list + 1] = name
    list[#list + 1] = packed_unit(units_read[name])
  end
  write_all('HSET', base .. 'u', list)
end
-- has_state: it was leased before, or moved to another revision.
local function give(q, t, id, has_state, charged, period)
  local n = q.given + 1
  q.given, q.ids[n] = n, id
  taken[#taken + 1] = {
    q.unit, id, string.sub(q.nonces, n * 16 - 15, n * 16), charged, period, n * 4, t, q.answer, q.fraction, q.ends_text
  }
  if has_state then stored[#stored + 1] = id end
  if #taken == ${MAX_BATCH} then write_leases() end
end
local function gone_from(place, id)
  local list = arrived[place]
  if list then list[#list + 1] = id else arrived[place] = { id } end
end
`;

/** Tenants without work in the order that one run takes out: it gives up then, and the steps that count anew do the rest. */
const ASTRAY_STEP = 64;

const taking = String.raw`
local astray = 0
local function take_popped(q, t, lane, place, m, score, idle_lane)
  local id, about, deadline = id_of(m), string.byte(m, 23), score % SCORE_STEP
  local dated = deadline < NO_DEADLINE
  gone_from(place, id)
  count(place, -1)
  if dated then call('ZREM', base .. 'dl', id) end
  if dated and deadline <= now then
    local r = load(id)
    if r then finish(id, r, EXPIRED) end
    q.budget = q.budget - 1
    -- Enough for one call; the event brings the unit back for the rest.
    if q.budget == 0 then ready = true end
    return
  end
  local cost = #m > 23 and struct.unpack('>I6', m, 24) or 0
  give(q, t, id, about >= 32, charge(q, t, lane, about % 32, cost, idle_lane, true))
end
-- As many as may go without a look at another tenant between them: one, or more when no other has work that may be leased.
local function take_some(q)
  local lane, v, idle_lane = next_lane(q)
  if not lane then return false end
  local place, t, most = q.places[lane], v[v.first], 1
  if v.whole and v.first == v.last and (idle_lane or not sharing[q.rev] or not (q.places[0] and q.places[1])) then
    most = min(q.wanted - q.given, q.budget)
    if t[T_CAP] >= 0 then most = min(most, t[T_CAP] - min(1, t[T_SUSPECTS]) - t[T_HELD]) end
  end
  -- Its counts were lost, and perhaps no more than those.
  if not place_in(t, place) then check_place(t, place) end
  local popped = place_in(t, place) and call('ZPOPMIN', base .. 'q:' .. place .. ':' .. t[T_NAME], most) or {}
  if #popped == 0 then
    -- Less is there than was counted, or nothing was: it leaves the order, or it would be looked at without an end.
    begin_mending()
    check_place(t, place)
    astray = astray + 1
    return astray < ${ASTRAY_STEP}
  end
  local emptied = false
  for i = 1, #popped, 2 do
    emptied = leave(t, place)
    take_popped(q, t, lane, place, popped[i], number(popped[i + 1]), idle_lane)
  end
  replace(t, lane, place, v, not emptied)
  return true
end
local function take_suspect(q, u, r, id, lane)
  unqueue(id, r, true)
  local t = tenant(r[TENANT])
  local c, period = charge(q, t, lane, r[CLASS], r[COST], nil, false)
  if parked(t) then park(t) else show(t, lane) end
  u[U_SUSPECT] = 1
  give(q, t, id, true, c, period)
end
-- A unit that holds a suspect gets nothing beside it.
local function take(q, u)
  if q.drained or q.wanted <= q.given then return end
  judge_sharing(q)
  if app[A_SUSPECTS] > 0 or u[U_SUSPECT] == 1 then
    local empty = q.given == 0 and held_by(q.unit) == 0
    local r, id, lane
    if empty then r, id, lane = find_suspect(q, true, at_cap) end
    if r then take_suspect(q, u, r, id, lane) end
    if empty and not r then u[U_SUSPECT] = 0 end
    if u[U_SUSPECT] == 1 then return end
  end
  while q.given < q.wanted and q.budget > 0 do
    if not take_some(q) then return end
  end
end
`;

const asking = String.raw`
-- The client library sends a call again when the connection broke before its answer: what it was given then is still its own.
local function repeated(q, u)
  write_leases()
  local answer, first_end = q.answer, nil
  for i = 1, #u[U_GIVEN] / 16 do
    local id = string.sub(u[U_GIVEN], i * 16 - 15, i * 16)
    local r, ends = load(id), tonumber(call('ZSCORE', k_lease, id) or nil)
    if r and ends and r[STATE] == LEASED and r[UNIT] == q.unit and r[NONCE] == string.sub(q.nonces, i * 16 - 15, i * 16) then
      local n = #answer
      answer[n + 1], answer[n + 2], answer[n + 3] = id, whole_state(r), call('HGET', k_rq, id)
      answer[n + 4] = call('HGET', base .. 'at', id) or ''
      first_end = min(first_end or ends, ends)
    end
  end
  -- They end when they did: the repeat extends nothing.
  answer[3] = first_end or answer[3]
end
local function announce(q, u)
  if not u or u[U_REV] ~= q.rev then
    if u then call('SREM', base .. 'ur:' .. u[U_REV], q.unit) end
    u = u or { q.rev, 0, 0, 0, '', '', 0 }
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
local function draining_elsewhere()
  local other = app[A_DRAIN] ~= '' and unit_once(app[A_DRAIN])
  return other and other[U_RETIRED] == 0 and now - other[U_SEEN] < ${DRAIN_SILENT_MS}
end
local function set_drain(name)
  app[A_DRAIN], changed = name, true
end
-- Whether it is given nothing so that it becomes empty for a suspect that has waited for long: one unit of the app at a time. What was
-- begun goes on when the suspect's tenant reaches its cap meanwhile.
local function is_drained(q, u)
  local mine = app[A_DRAIN] == q.unit
  if q.wanted == 0 or not (mine or app[A_SUSPECTS] > 0) then return false end
  if u[U_SUSPECT] == 1 or held_by(q.unit) == 0 then
    if mine then set_drain('') end
    return false
  end
  local r = find_suspect(q, false, mine and never_runs or at_cap)
  if mine and not r then set_drain('') end
  if mine or not r then return mine and r ~= nil end
  if now - r[SINCE] < ${SUSPECT_PATIENCE_MS} or draining_elsewhere() then return false end
  set_drain(q.unit)
  return true
end
-- The table of verdict.ts, for a unit that holds nothing. Answers whether it leaves, and when to ask again.
local function verdict(q, u)
  if closed or q.desired == 'Paused' then return true end
  -- What waits is being counted anew.
  if m.mend then return false end
  if queued[q.places[0] or ''] or queued[q.places[1] or ''] then return false end
  if q.desired == 'Draining' or q.rev ~= q.current then return true end
  if call('SCARD', base .. 'ur:' .. q.current) <= q.floor then return false end
  if now >= u[U_IDLE] + q.linger then return true end
  return false, u[U_IDLE] + q.linger
end
local searched = {}
local function lease(q)
  local answer = q.answer
  local u = unit_once(q.unit)
  if closed == '2' or (u and u[U_RETIRED] == 1) then
    answer[1] = 'refused'
    return
  end
  if u and q.max > 0 and u[U_NONCE] == string.sub(q.nonces, 1, 16) then return repeated(q, u) end
  u = announce(q, u)
  q.drained = is_drained(q, u)
  take(q, u)
  if (q.given < q.max or q.max == 0) and not searched[q.current] then
    -- Not enough: what ran out, and what no other unit will ever take, may be had too.
    searched[q.current] = true
    write_leases()
    end_overdue(${OVERDUE_STEP})
    rekey(q.current, ${REKEY_STEP})
    mend_some(${REKEY_STEP}, #lost)
    take(q, u)
  end
  if q.given > 0 then
    hold(q.unit, q.given)
    u[U_IDLE], u[U_NONCE], u[U_GIVEN] = 0, string.sub(q.nonces, 1, 16), table.concat(q.ids)
    return
  end
  if held_by(q.unit) > 0 then return end
  -- Idle time starts when a unit asks in vain for the first time after its last lease, not when it was given that one.
  if u[U_IDLE] == 0 then u[U_IDLE] = now end
  local leave_, recheck = verdict(q, u)
  if leave_ then
    u[U_RETIRED], answer[1], changed = 1, 'leave', true
    call('SREM', base .. 'ur:' .. q.rev, q.unit)
    call('ZADD', base .. 'uf', now + ${RETIRED_MEMORY_MS}, q.unit)
  end
  answer[2] = recheck or ''
end
`;

/** Of what units of one kind say alike; each without the separator. */
const ALIKE = Array.from({ length: 9 }, () => '([^\\n]*)').join('\\n');

/** It is read once for all who say it next to each other. */
const asked = String.raw`
local function asked(alike, all)
  local rev, current, lease_ms, least, linger, desired, lanes, fraction, grace = string.match(alike, '^${ALIKE}$')
  local ends = now + lease_ms
  return {
    alike = alike, rev = rev, current = current, ends = ends, ends_text = text(ends), floor = tonumber(least),
    linger = tonumber(linger), desired = desired, fraction = tonumber(fraction), grace = tonumber(grace), prices = {},
    places = { [0] = string.find(lanes, '0', 1, true) and '0:' .. rev, string.find(lanes, '1', 1, true) and '1:' .. rev },
    is_over = closed or desired == 'Paused', ask = all,
    unit = '', nonces = '', max = 0, answer = '', ids = '', given = 0, wanted = 0, budget = 0, drained = false
  }
end
`;

/**
 * ARGV from 4, per request: unit, max, nonces (16 digits each, one after another), then in one, each in a line: revision, current
 * revision, lease ms, floor, linger ms, desired state, lanes ('01', '0', '1' or ''), fraction of a GPU, grace of batch work in ms. Answers
 * for each a list: verdict, recheck at (or ''), end of the leases, then per lease id, state, fixed part, ended attempts.
 */
export const LEASE = String.raw`${core}${fair}${costs}${pending}${finishing}${ending(DEAD_LETTER_RETENTION_MS)}${commit}${rekeying}${mending}${units}
${picking}${suspects}${shared}${taking}${asking}${asked}
local answers, names, all = {}, {}, 0
for a = 4, #ARGV, ${LEASE_ARGS} do names[#names + 1], all = ARGV[a], all + ARGV[a + 1] end
fetch_units(names)
local q = nil
for a = 4, #ARGV, ${LEASE_ARGS} do
  local answer, most = { 'stay', '' }, number(ARGV[a + 1])
  answers[#answers + 1] = answer
  if not q or q.alike ~= ARGV[a + 3] then q = asked(ARGV[a + 3], all) end
  answer[3] = q.ends
  q.unit, q.nonces, q.max, q.answer, q.ids, q.given = ARGV[a], ARGV[a + 2], most, answer, {}, 0
  q.wanted, q.budget, q.drained = q.is_over and 0 or most, ${LEASE_EXPIRY_BUDGET}, false
  lease(q)
end
write_leases()
drop_lost()
write_units()
commit()
tell()
return { gen, answers }
`;
