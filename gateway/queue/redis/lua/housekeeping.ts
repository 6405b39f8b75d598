// SPDX-License-Identifier: Apache-2.0
import {
  DEAD_LETTER_RETENTION_MS,
  OBJECT_GRACE_MS,
  OVERDUE_STEP,
  RENORMALISE_ABOVE,
  REOFFER_MS,
  TOMBSTONE_MS,
  UNIT_RECHECK_MS,
  UNIT_SILENT_MS,
} from '../../limits.ts';
import { core, units, unlisting } from './core.ts';
import { commit, costs, fair } from './fair.ts';
import { mending } from './mending.ts';
import { ending, finishing, pending, rekeying } from './requests.ts';

const changing = core + fair + costs + pending + finishing + ending(DEAD_LETTER_RETENTION_MS) + commit;

/** An app whose counts are wrong again so soon is not gone through once more at once: what is left of lost data may keep them wrong. */
const MEND_AGAIN_MS = 60_000;

/** Upkeep of the fair order. */
const upkeep = String.raw`
-- Tenants with nothing here that are no longer ahead of the others, and those that stand elsewhere than is counted: a bounded part in each step.
local function look_at_tenants()
  local step = call('HSCAN', base .. 't', app[A_SCAN], 'COUNT', 64)
  local cursor, flat_ = step[1], step[2]
  for i = 1, #flat_, 2 do
    local t = tenants[flat_[i]] or tenant_from(flat_[i], flat_[i + 1])
    if not known(t) then touched[t] = true end
    for _, place in ipairs(m.mend and {} or places_of(t)) do
      if not check_place(t, place) then begin_mending() end
    end
  end
  if app[A_SCAN] ~= cursor then app[A_SCAN], changed = cursor, true end
end
-- Tags stay exact integers: once a lane is far along, all of it goes back by the same amount. Not for a small gain: while one tenant
-- is far behind that would be work for all in every step.
local function renormalise(lane)
  if app[A_TIME + lane] <= ${RENORMALISE_ABOVE} then return end
  local by = nil
  for place in pairs(queued) do
    local low = lane_of(place) == lane and lowest(place)
    if low then by = min(by or low, low) end
  end
  by = by or app[A_TIME + lane]
  if by < floor(app[A_TIME + lane] / 2) then return end
  app[A_TIME + lane], changed = max(0, app[A_TIME + lane] - by), true
  fetch_tenants(call('HKEYS', base .. 't'))
  for _, t in pairs(tenants) do
    t[T_TAG + lane], t[T_FLOOR + lane] = max(0, t[T_TAG + lane] - by), max(0, t[T_FLOOR + lane] - by)
    touched[t] = true
    if not parked(t) then show(t, lane) end
  end
end
-- What is counted must be there: else units would stay for work that is not, or nobody would ever come for work that is. Every record
-- is queued, leased or finished.
local function check_counts()
  if m.mend or floor((now - (m.mended or 0)) / ${MEND_AGAIN_MS}) == 0 then return end
  local suspects, waiting, leased, sound = 0, 0, call('ZCARD', k_lease), true
  for place, n in pairs(queued) do
    suspects, waiting = suspects + call('ZCARD', base .. 'sus:' .. place), waiting + n
    sound = sound and call('ZCARD', base .. 'arr:' .. place) == n
  end
  sound = sound and suspects == app[A_SUSPECTS] and leased == app[A_LEASED]
  sound = sound and (waiting == 0 or call('EXISTS', base .. 't') == 1)
  if not sound or call('HLEN', k_rq) > waiting + leased + call('ZCARD', base .. 'fin') then begin_mending() end
end
local function forget_estimates(current)
  for field in pairs(m) do
    local rev = string.sub(field, 1, 2) == 'e:' and string.sub(field, 3)
    if rev and rev ~= current and not queued['0:' .. rev] and not queued['1:' .. rev] and call('SCARD', base .. 'ur:' .. rev) == 0 then
      call('HDEL', k_m, field)
    end
  end
end
local function forget_units(step)
  for _, name in ipairs(call('ZRANGEBYSCORE', base .. 'uf', '-inf', now, 'LIMIT', 0, step)) do
    local u = unit_of(name)
    if u and u[U_RETIRED] == 0 and u[U_SEEN] + ${UNIT_SILENT_MS} > now then
      -- Seen since: the hot calls leave its place here alone.
      call('ZADD', base .. 'uf', u[U_SEEN] + ${UNIT_SILENT_MS}, name)
    elseif held_by(name) > 0 then
      -- Its leases run out by themselves; only then it may go.
      call('ZADD', base .. 'uf', now + ${UNIT_RECHECK_MS}, name)
    else
      if u then call('SREM', base .. 'ur:' .. u[U_REV], name) end
      call('HDEL', base .. 'u', name)
      call('HDEL', base .. 'ul', name)
      held[name], held_changed[name] = nil, nil
      call('ZREM', base .. 'uf', name)
    end
  end
end
`;

/** ARGV from 4: step, current revision (or ''). Answers how many leases and deadlines ended, when the next call is due (or ''), the app's phase, and new dead letters. */
export const EXPIRE = String.raw`${changing}${rekeying}${mending}${units}${upkeep}
local step, current = tonumber(ARGV[4]), ARGV[5]
renormalise(0)
renormalise(1)
check_counts()
mend_some(step, 0)
local expired = end_overdue(step)
local late = call('ZRANGEBYSCORE', base .. 'dl', '-inf', now, 'LIMIT', 0, step)
for _, id in ipairs(late) do
  local r = load(id)
  if r then
    unqueue(id, r)
    finish(id, r, EXPIRED)
  else
    call('ZREM', base .. 'dl', id)
  end
end
forget_units(step)
local next_at = nil
local function due(at)
  if at and (not next_at or at < next_at) then next_at = at end
end
if current ~= '' and not closed then
  rekey(current, step)
  for _, rev in ipairs(revisions()) do
    if stranded(rev, current) then due(now) end
  end
end
for _, key in ipairs({ 'lease', 'dl', 'uf' }) do
  due(tonumber(call('ZRANGE', base .. key, 0, 0, 'WITHSCORES')[2]))
end
if current ~= '' then forget_estimates(current) end
look_at_tenants()
if m.mend then due(now) end
local dead = call('HGET', k_m, 'dead')
if dead then call('HDEL', k_m, 'dead') end
commit()
tell()
return { gen, { expired + #late, next_at or '', closed or '', tonumber(dead or 0) } }
`;

/** Removal of a record; its objects lose their owner. */
const removal = String.raw`${unlisting}
local k_obj = base .. 'obj'
local function doom(key, at)
  call('ZADD', k_obj, at, '-' .. key)
end
local function remove(id)
  local r = load(id)
  if r then
    if r[BODY_KEY] ~= '' then doom(r[BODY_KEY], now) end
    if r[RESULT_KEY] ~= '' then doom(r[RESULT_KEY], now) end
    local entry = call('HGET', base .. 'dd', r[DIGEST])
    if entry and string.sub(entry, 1, 16) == id then call('HDEL', base .. 'dd', r[DIGEST]) end
    for _, key in ipairs({ 'st', 'rq', 'at' }) do call('HDEL', base .. key, id) end
    if r[DEAD] == 1 then unlist(id, r) end
  end
  call('ZREM', base .. 'fin', id)
end
-- A noted object: '+', 4 bytes of epoch, 16 of id, its key.
local function noted(member)
  return string.sub(member, 22), string.sub(member, 6, 21), struct.unpack('>I4', member, 2)
end
local function count_change()
  gen = call('HINCRBY', k_m, 'gen', 1)
end
`;

/** ARGV from 4: limit of keys, limit of records. Answers how many records went, then keys to delete. */
export const SWEEP = String.raw`${core}${removal}
local ids = call('ZRANGEBYSCORE', base .. 'fin', '-inf', now, 'LIMIT', 0, tonumber(ARGV[5]))
local swept = 0
-- A letter whose body went over to another request: that one's object bears the letter's name, and only the letter says who has it now.
local function has_heir(id)
  local r = load(id)
  if not r or r[REDRIVEN] == '' or r[BODY_KEY] ~= '' then return false end
  local heir = string.gsub(r[REDRIVEN], '..', function(two) return string.char(tonumber(two, 16)) end)
  return call('HEXISTS', k_rq, heir) == 1
end
for _, id in ipairs(ids) do
  if has_heir(id) then
    call('ZADD', base .. 'fin', now + ${OBJECT_GRACE_MS}, id)
  else
    remove(id)
    -- The time that a UUIDv7 begins with (RFC 9562 5.7).
    local high, low = struct.unpack('>I4I2', id)
    swept = max(swept, high * 65536 + low)
  end
end
if swept > tonumber(m.swept or 0) then call('HSET', k_m, 'swept', string.format('%.0f', swept)) end
local answer = { #ids }
local function offer(key)
  doom(key, now + ${REOFFER_MS})
  answer[#answer + 1] = key
end
local looked = call('ZRANGEBYSCORE', k_obj, '-inf', now, 'LIMIT', 0, tonumber(ARGV[4]))
for _, member in ipairs(looked) do
  if string.sub(member, 1, 1) == '-' then
    offer(string.sub(member, 2))
  else
    local key, id, epoch = noted(member)
    local r = load(id)
    if r and r[FINISHED] == 0 and r[EPOCH] == epoch then
      -- Its attempt may still commit it.
      call('ZADD', k_obj, now + ${OBJECT_GRACE_MS}, member)
    else
      call('ZREM', k_obj, member)
      if not r or r[RESULT_KEY] ~= key then offer(key) end
    end
  end
end
if #ids + #looked > 0 then count_change() end
return { gen, answer }
`;

/** ARGV[4]: limit. Answers 'done', 'more' or 'waiting', then keys to delete. Close, cancel what is queued, wait for leases, records, keys, the app. */
export const PURGE = String.raw`${changing}${rekeying}${mending}${units}${removal}
local limit = tonumber(ARGV[4])
if closed == '2' then return { gen, { 'done' } } end
if not closed then
  call('HSET', k_m, 'closed', 1)
  closed, ready, changed = '1', true, true
end
end_overdue(${OVERDUE_STEP})
mend_some(limit, 0)
local left = limit
for _, rev in ipairs(revisions()) do
  for lane = 0, 1 do
    local place = lane .. ':' .. rev
    local ids, records = oldest_of(place, left)
    for i, id in ipairs(ids) do
      unqueue(id, records[i])
      finish(id, records[i], CANCELLED)
      left = left - 1
    end
    -- Whatever lost data has left there.
    if not queued[place] then call('UNLINK', base .. 'arr:' .. place, base .. 'sus:' .. place, base .. 'act:' .. place) end
  end
end
if left < limit and m.mended and not m.mend and not next(queued) then
  -- Places of tenants may hold what has lost its record.
  m.mend = 't0'
  call('HSET', k_m, 'mend', m.mend)
end
commit()
tell()
if left < limit or m.mend or next(queued) then return { gen, { 'more' } } end
if call('ZCARD', k_lease) > 0 then return { gen, { 'waiting' } } end
local ended = call('ZRANGE', base .. 'fin', 0, limit - 1)
-- Records that no set names (any more) go with the others.
if #ended == 0 then ended = call('HRANDFIELD', k_rq, limit) end
for _, id in ipairs(ended) do remove(id) end
local answer = { 'more' }
for _, member in ipairs(call('ZRANGE', k_obj, 0, limit - 1)) do
  local key = string.sub(member, 2)
  if string.sub(member, 1, 1) == '+' then
    key = noted(member)
    call('ZREM', k_obj, member)
  end
  doom(key, now + ${REOFFER_MS})
  answer[#answer + 1] = key
end
if #answer == 1 and call('HLEN', k_rq) == 0 then
  for _, s in ipairs(call('HVALS', base .. 'u')) do call('UNLINK', base .. 'ur:' .. unit_from(s)[U_REV]) end
  for _, key in ipairs({ 't', 'st', 'rq', 'at', 'dd', 'fin', 'dead', 'lease', 'dl', 'u', 'ul', 'uf', 'obj' }) do call('UNLINK', base .. key) end
  for field in pairs(m) do
    if field == 's' or string.sub(field, 1, 2) == 'e:' then call('HDEL', k_m, field) end
  end
  call('HDEL', k_m, 's', 'dead', 'mend', 'mended')
  call('HSET', k_m, 'closed', 2)
  call('PEXPIRE', k_m, ${TOMBSTONE_MS})
  answer[1], ready, done = 'done', true, {}
  tell()
end
count_change()
return { gen, answer }
`;
