// SPDX-License-Identifier: Apache-2.0
import { ASSUMED_COST_MICROS, LANE_WEIGHTS } from '../../limits.ts';

/**
 * Start-time fair queueing. State of the app and of tenants is read once in a run, changed here and written by `commit`: each
 * redis.call costs more than what it does.
 */
export const fair = String.raw`
local app = m.s and unpack_(m.s) or { 0, 0, 0, 0, 0, 0, '', '0', {}, {} }
local queued, sharing = app[A_QUEUED], app[A_SHARING]
local tenants, touched, orders, lows = {}, {}, {}, {}
local forget_view = function() end

-- Leases that units hold.
local held, held_changed = {}, {}
local function fetch_held(names)
  for i, n in ipairs(read_all(base .. 'ul', names)) do held[names[i]] = tonumber(n or 0) end
end
local function held_by(name)
  if not held[name] then held[name] = tonumber(call('HGET', base .. 'ul', name) or 0) end
  return held[name]
end
local function hold(name, by)
  held[name], held_changed[name] = held_by(name) + by, true
end

local function tenant_from(name, s)
  local t = s and unpack_(s) or { name, 1, -1, -1, 0, 0, 0, 0, 0, 0 }
  t[T_NAME] = name
  tenants[name] = t
  return t
end
local function tenant(name)
  return tenants[name] or tenant_from(name, call('HGET', base .. 't', name))
end
local function fetch_tenants(names)
  local missing = {}
  for _, name in ipairs(names) do
    if not tenants[name] then missing[#missing + 1], tenants[name] = name, true end
  end
  for i, s in ipairs(read_all(base .. 't', missing)) do tenant_from(missing[i], s) end
end
local function tag(t, lane)
  return max(t[T_TAG + lane], t[T_FLOOR + lane])
end
local function queued_of(t)
  local n = t[T_SUSPECTS]
  for i = T_PLACES + 1, #t, 2 do n = n + t[i] end
  return n
end
local function known(t)
  return t[T_HELD] > 0 or #t >= T_PLACES or t[T_SUSPECTS] > 0 or tag(t, 0) > app[A_TIME] or tag(t, 1) > app[A_TIME + 1]
end
local function at_cap(t)
  return t[T_CAP] >= 0 and t[T_HELD] >= t[T_CAP]
end
-- Ordinary work leaves one place to suspects that wait: it would take each that comes free.
local function parked(t)
  return t[T_CAP] >= 0 and t[T_HELD] >= t[T_CAP] - min(1, t[T_SUSPECTS])
end

-- The sets of tenants that may be leased from. at: the tag, or false to leave; fresh: it was not there.
local function write_order(place)
  local changes, add, gone = orders[place], {}, {}
  if not changes then return end
  for name, at in pairs(changes) do
    if at then
      add[#add + 1], add[#add + 2] = at, name
    else
      gone[#gone + 1] = name
    end
  end
  write_all('ZADD', base .. 'act:' .. place, add)
  write_all('ZREM', base .. 'act:' .. place, gone)
  orders[place] = nil
end
local function put(place, name, at, fresh)
  orders[place] = orders[place] or {}
  orders[place][name] = at
  forget_view(place)
  local low = lows[place]
  if not fresh then
    lows[place] = nil
  elseif low ~= nil then
    lows[place] = low and min(low, at) or at
  end
end
local function lowest(place)
  if lows[place] == nil then
    write_order(place)
    lows[place] = tonumber(call('ZRANGE', base .. 'act:' .. place, 0, 0, 'WITHSCORES')[2]) or false
  end
  return lows[place]
end
local function lane_of(place)
  return string.byte(place) - 48
end
-- One tag for all revisions of a lane.
local function show(t, lane, fresh)
  local at = tag(t, lane)
  for i = T_PLACES, #t, 2 do
    local place = t[i]
    if lane_of(place) == lane then put(place, t[T_NAME], at, fresh and fresh[place]) end
  end
end
-- It may be leased from in these places now, and could not: it starts beside the others, neither with credit nor with debt for its absence.
local function join(t, places)
  local low, fresh = {}, {}
  for _, place in ipairs(places) do
    local lane = lane_of(place)
    low[lane] = max(low[lane] or 0, lowest(place) or app[A_TIME + lane])
    fresh[place] = true
  end
  for lane, at in pairs(low) do
    t[T_FLOOR + lane] = max(t[T_FLOOR + lane], at)
    show(t, lane, fresh)
  end
end
local function unpark(t)
  local places = {}
  for i = T_PLACES, #t, 2 do places[#places + 1] = t[i] end
  join(t, places)
  ready = true
end
local function park(t)
  for i = T_PLACES, #t, 2 do put(t[i], t[T_NAME], false) end
end
local function rejudge(t, was)
  local is = parked(t)
  if was and not is then unpark(t) elseif is and not was then park(t) end
  touched[t] = true
end
local function set_share(t, weight, cap, full)
  local was = parked(t)
  t[T_WEIGHT], t[T_CAP], t[T_FULL] = weight, cap, full
  rejudge(t, was)
end
local function place_in(t, place)
  for i = T_PLACES, #t, 2 do
    if t[i] == place then return i end
  end
end
local function enter(t, place)
  local i, n = place_in(t, place), #t
  touched[t] = true
  if i then
    t[i + 1] = t[i + 1] + 1
    return
  end
  t[n + 1], t[n + 2] = place, 1
  if not parked(t) then join(t, { place }) end
end
-- Sets, counters and records say different things: the call that meets it and the expire steps count anew, a part at a time.
local function begin_mending()
  if m.mend then return end
  m.mend, changed = 'r0', true
  call('HSET', k_m, 'mend', m.mend)
end
-- Answers whether that was the last there.
local function leave(t, place)
  local i, n = T_PLACES, #t
  if t[i] ~= place then i = place_in(t, place) end
  touched[t] = true
  if not i then
    -- Its counts were lost: others of its requests may be there.
    begin_mending()
    return true
  end
  t[i + 1] = t[i + 1] - 1
  if t[i + 1] > 0 then return false end
  t[i], t[i + 1] = t[n - 1], t[n]
  t[n], t[n - 1] = nil, nil
  return true
end
local function count(place, by)
  local n = (queued[place] or 0) + by
  queued[place], changed = n > 0 and n or nil, true
  if n == 0 and lane_of(place) == 1 then sharing[string.sub(place, 3)] = nil end
end
`;

/** What leases cost, and what was learned of it. Needs fair. */
export const costs = String.raw`
local LANE_WEIGHT = { [0] = ${LANE_WEIGHTS.online}, ${LANE_WEIGHTS.batch} }
local estimates, taught = {}, {}
local function estimates_of(rev)
  if not estimates[rev] then
    local s = m['e:' .. rev]
    estimates[rev] = s and unpack_(s) or {}
  end
  return estimates[rev]
end
local function learn(r, micros)
  local e = estimates_of(r[REV])
  local class = r[CLASS] + 2
  for i = #e + 1, class do e[i] = -1 end
  e[1] = e[1] < 0 and micros or e[1] + floor((micros - e[1]) / 8)
  e[class] = e[class] < 0 and micros or e[class] + floor((micros - e[class]) / 8)
  taught[r[REV]], changed = true, true
end
local function price(rev, class, fraction)
  local e = estimates_of(rev)
  local known_, any = e[class + 2] or -1, e[1] or -1
  local micros = known_ >= 0 and known_ or any >= 0 and any or ${ASSUMED_COST_MICROS}
  return max(1, floor(micros * fraction / WHOLE_GPU))
end
-- The attempt took so much, not what was charged.
local function correct(r, actual)
  local t, lane, delta = tenant(r[TENANT]), r[LANE], actual - r[CHARGED]
  r[CHARGED] = actual
  if delta == 0 then return end
  t[T_TAG + lane] = min(TAG_LIMIT, max(0, t[T_TAG + lane] + floor(delta / t[T_WEIGHT])))
  local shared = sharing[r[REV]]
  if shared and shared[1] == r[PERIOD] then shared[lane + 2] = max(0, shared[lane + 2] + floor(delta / LANE_WEIGHT[lane])) end
  if not parked(t) then show(t, lane) end
  touched[t] = true
end
local function give_room(r)
  local t = tenant(r[TENANT])
  local was = parked(t)
  t[T_HELD], touched[t] = t[T_HELD] - 1, true
  hold(r[UNIT], -1)
  app[A_LEASED], changed = app[A_LEASED] - 1, true
  if was and not parked(t) then unpark(t) end
end
`;

/** Writes what the run knows anew. An idle app remembers nothing of tenants: the next busy period starts with all alike. Needs fair. */
export const commit = String.raw`
local function write_tenants()
  local list, gone = {}, {}
  for t in pairs(touched) do
    local name = t[T_NAME]
    if known(t) then
      t[T_NAME] = 0
      list[#list + 1], list[#list + 2] = name, pack(t)
      t[T_NAME] = name
    else
      gone[#gone + 1] = name
    end
  end
  write_all('HSET', base .. 't', list)
  write_all('HDEL', base .. 't', gone)
end
local function write_held()
  local list = {}
  for name in pairs(held_changed) do list[#list + 1], list[#list + 2] = name, text(held[name]) end
  write_all('HSET', base .. 'ul', list)
end
local function commit()
  write_held()
  for place in pairs(orders) do write_order(place) end
  if not changed and not next(touched) then return end
  if app[A_LEASED] == 0 and not next(queued) and not m.mend then
    call('UNLINK', base .. 't')
    app[A_TIME], app[A_TIME + 1], app[A_DRAIN], app[A_SCAN], app[A_SHARING] = 0, 0, '', '0', {}
  elseif next(touched) then
    write_tenants()
  end
  gen = gen + 1
  local list = { 'gen', string.format('%.0f', gen), 's', pack(app) }
  for rev in pairs(taught or {}) do
    list[#list + 1], list[#list + 2] = 'e:' .. rev, pack(estimates[rev])
  end
  write_all('HSET', k_m, list)
end
`;
