// SPDX-License-Identifier: Apache-2.0
import { DEAD_LETTER_RETENTION_MS, UNIT_RECHECK_MS } from '../../limits.ts';

/** Suspects that are read at a time: some of a megabyte's tenth. */
const SUSPECTS_AT_ONCE = 1_000;

/**
 * Where sets, counters and records say different things, as lost data (an evicted key, a hand in it, a log that ends too early) may leave
 * it, the records are right. `mend` in `m` says how far they have been gone through: 'r' and the cursor among `rq`, then 'a', rank and
 * place among what is queued, then 't' and the cursor among `t`. Each part is right by itself, whatever other calls change between two of them: a record that should stand in a set is put
 * there, which changes nothing where it does; a counter becomes the size of its set, which every call changes with it. Needs pending, commit.
 */
export const mending = String.raw`
local function set_count(t, place, n)
  local i, size = place_in(t, place), #t
  touched[t] = true
  if i and n > 0 then
    t[i + 1] = n
  elseif i then
    t[i], t[i + 1] = t[size - 1], t[size]
    t[size], t[size - 1] = nil, nil
  elseif n > 0 then
    t[size + 1], t[size + 2] = place, n
  end
end
-- What is counted of a tenant in a place, and whether it can be leased from there. Answers whether both were as they must be.
local function check_place(t, place)
  local name, i = t[T_NAME], place_in(t, place)
  local n = call('ZCARD', base .. 'q:' .. place .. ':' .. name)
  local sound = n == (i and t[i + 1] or 0)
  if not sound then set_count(t, place, n) end
  write_order(place)
  local there = call('ZSCORE', base .. 'act:' .. place, name)
  if n == 0 or parked(t) then
    if there then put(place, name, false) end
    return sound and not there
  end
  if there then return sound end
  join(t, { place })
  touched[t], ready = true, true
  return false
end
-- Of a record: it stands where its state says.
local function restore(id, checks, places)
  local r = load(id)
  if not r then return end
  if r[STATE] == LEASED then
    -- When it ends was lost, too: its unit extends it well before that.
    call('ZADD', k_lease, 'NX', now + ${UNIT_RECHECK_MS}, id)
  elseif r[STATE] > LEASED then
    call('ZADD', base .. 'fin', 'NX', r[FINISHED] + max(r[RETENTION], r[DEAD] * ${DEAD_LETTER_RETENTION_MS}), id)
  elseif not call('ZSCORE', base .. 'fin', id) and not call('ZSCORE', k_lease, id) then
    -- Else its state was lost.
    local place = place_of(r)
    places[place] = true
    call('ZADD', base .. 'arr:' .. place, r[CREATED], id)
    if r[DEADLINE] > 0 then call('ZADD', base .. 'dl', r[DEADLINE], id) end
    if r[LOSSES] > 0 then
      call('ZADD', base .. 'sus:' .. place, r[SCORE], suspect_member(id, r))
    else
      call('ZADD', base .. 'q:' .. place .. ':' .. r[TENANT], r[SCORE], member(id, r))
      checks[place] = checks[place] or {}
      checks[place][r[TENANT]] = true
    end
  end
end
local function restore_some(ids)
  local checks, places = {}, {}
  for i = 1, #ids, 2 do restore(ids[i], checks, places) end
  for place, names in pairs(checks) do
    for name in pairs(names) do check_place(tenant(name), place) end
  end
  -- Not less than was counted, until all have been seen: their units would leave.
  for place in pairs(places) do
    count(place, max(0, call('ZCARD', base .. 'arr:' .. place) - (queued[place] or 0)))
  end
end
-- What is listed, and whose record was lost. Answers where to go on, or nothing. What others remove meanwhile may hide one: it stays.
local function drop_some(limit, cursor)
  local rank, first = string.match(cursor, '^(%d+):(.*)$')
  local places = {}
  for place in pairs(queued) do places[#places + 1] = place end
  table.sort(places, before)
  for _, place in ipairs(places) do
    local key, at = base .. 'arr:' .. place, place == first and tonumber(rank) or 0
    while not before(place, first) do
      if limit <= 0 then return at .. ':' .. place end
      local ids = call('ZRANGE', key, at, at + limit - 1)
      if #ids == 0 then break end
      limit, at = limit - #ids, at + #ids
      for _, id in ipairs(ids) do
        local r = load(id)
        if not r or r[STATE] ~= QUEUED or place_of(r) ~= place then
          call('ZREM', key, id)
          if not r then call('ZREM', base .. 'dl', id) end
          at = at - 1
        end
      end
    end
  end
end
-- All records have been seen. uncounted: leases that are counted, and are not in their set yet.
local function recount_places(uncounted)
  local places, suspects = {}, 0
  for place in pairs(queued) do places[#places + 1] = place end
  for _, place in ipairs(places) do
    count(place, call('ZCARD', base .. 'arr:' .. place) - queued[place])
    suspects = suspects + call('ZCARD', base .. 'sus:' .. place)
  end
  app[A_SUSPECTS], app[A_LEASED] = suspects, call('ZCARD', k_lease) + uncounted
  ready = ready or next(queued) ~= nil
end
-- A microsecond each; requests that have cost a unit its life are few.
local function suspects_by_tenant()
  local counts = {}
  for place in pairs(app[A_SUSPECTS] > 0 and queued or {}) do
    local key, from, list = base .. 'sus:' .. place, 0, nil
    repeat
      list = call('ZRANGE', key, from, from + ${SUSPECTS_AT_ONCE - 1})
      for _, member_ in ipairs(list) do
        local name = string.sub(member_, 23)
        counts[name] = (counts[name] or 0) + 1
      end
      from = from + #list
    until #list < ${SUSPECTS_AT_ONCE}
  end
  return counts
end
local function places_of(t)
  local list = {}
  for i = T_PLACES, #t, 2 do list[#list + 1] = t[i] end
  return list
end
local function check_tenants(flat_)
  local counts = suspects_by_tenant()
  for i = 1, #flat_, 2 do
    local name = flat_[i]
    local t = tenants[name] or tenant_from(name, flat_[i + 1])
    local was = parked(t)
    t[T_SUSPECTS], touched[t] = counts[name] or 0, true
    rejudge(t, was)
    for _, place in ipairs(places_of(t)) do
      -- Members whose records were lost, in a place where nothing else is left.
      if not queued[place] then call('UNLINK', base .. 'q:' .. place .. ':' .. name, base .. 'act:' .. place) end
      check_place(t, place)
    end
  end
end
local function mend_some(limit, uncounted)
  if not m.mend then return end
  local phase, cursor = string.sub(m.mend, 1, 1), string.sub(m.mend, 2)
  changed = true
  if phase == 'r' then
    local step = call('HSCAN', k_rq, cursor, 'COUNT', limit)
    restore_some(step[2])
    cursor = step[1]
    if cursor == '0' then phase, cursor = 'a', '0:' end
  end
  if phase == 'a' then
    cursor = drop_some(limit, cursor)
    if not cursor then
      recount_places(uncounted)
      write_tenants()
      phase, cursor = 't', '0'
    end
  end
  if phase == 't' then
    local step = call('HSCAN', base .. 't', cursor, 'COUNT', limit)
    check_tenants(step[2])
    cursor = step[1]
    if cursor == '0' then
      m.mend, m.mended = nil, now
      call('HDEL', k_m, 'mend')
      call('HSET', k_m, 'mended', now)
      return
    end
  end
  m.mend = phase .. cursor
  call('HSET', k_m, 'mend', m.mend)
end
`;
