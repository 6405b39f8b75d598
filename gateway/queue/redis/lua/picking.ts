// SPDX-License-Identifier: Apache-2.0
import { SUSPECT_PAGE, SUSPECT_SCAN } from '../../limits.ts';

/**
 * Choosing what is leased next. A view is the head of an `act` set, kept in order in this run: as leases only raise tags, nobody
 * behind it can come before it. Whoever falls behind its end, and every change from elsewhere, makes the run look again.
 */
export const picking = String.raw`
local views = {}
forget_view = function(place) views[place] = nil end
-- Its tenants are v[v.first] to v[v.last].
local function view_of(place, want)
  local v = views[place]
  if v and (v.whole or v.first <= v.last) then return v end
  write_order(place)
  v = call('ZRANGE', base .. 'act:' .. place, 0, want)
  fetch_tenants(v)
  local n = #v
  for i = 1, n do v[i] = tenants[v[i]] end
  v.first, v.last, v.whole = 1, n, n <= want
  views[place] = v
  return v
end
local function goes_before(a, b, lane)
  local x, y = tag(a, lane), tag(b, lane)
  return x < y or (x == y and before(a[T_NAME], b[T_NAME]))
end
-- The first one's tag has grown.
local function move_back(v, t, lane)
  local first, last = v.first, v.last
  local low, high = first + 1, last + 1
  -- Most often everybody else is next.
  if first < last and not goes_before(t, v[last], lane) then low = high end
  while low < high do
    local mid = floor((low + high) / 2)
    if goes_before(v[mid], t, lane) then low = mid + 1 else high = mid end
  end
  if low <= last then
    for i = first, low - 2 do v[i] = v[i + 1] end
    v[low - 1] = t
    return
  end
  v.first = first + 1
  if v.whole then v.last, v[last + 1] = last + 1, t end
end
local function first_in(q, lane)
  local place = q.places[lane]
  if not place or not queued[place] then return end
  local v = view_of(place, q.ask)
  return v.first <= v.last and v
end
-- Answers lane and view to take from, and the lane that has nothing to give though it was asked for, while lanes share.
local function next_lane(q)
  local online, shared = first_in(q, 0), sharing[q.rev]
  if online and not shared then return 0, online end
  local batch = first_in(q, 1)
  if not batch then return online and 0, online, q.places[1] and 1 end
  if not online then return 1, batch, q.places[0] and 0 end
  local lane = shared[3] < shared[2] and 1 or 0
  return lane, lane == 0 and online or batch
end
-- Online work goes first until the oldest batch request has waited for the grace; then both share until no batch work is left.
local function judge_sharing(q)
  if not queued['1:' .. q.rev] or sharing[q.rev] then return end
  local oldest = tonumber(call('ZRANGE', base .. 'arr:1:' .. q.rev, 0, 0, 'WITHSCORES')[2])
  if not oldest or oldest + q.grace > now then return end
  app[A_PERIODS], changed = app[A_PERIODS] + 1, true
  sharing[q.rev] = { app[A_PERIODS], 0, 0 }
end
-- Answers the charge and the number of the lanes' sharing. A suspect is leased out of order, so it does not move the lane's time.
local function charge(q, t, lane, class, cost, idle_lane, in_order)
  local at, c = tag(t, lane), cost > 0 and cost or q.prices[class]
  if not c then
    c = price(q.rev, class, q.fraction)
    q.prices[class] = c
  end
  if in_order then app[A_TIME + lane] = max(app[A_TIME + lane], at) end
  t[T_TAG + lane] = min(TAG_LIMIT, at + max(1, floor(c / t[T_WEIGHT])))
  t[T_HELD], touched[t] = t[T_HELD] + 1, true
  app[A_LEASED], changed = app[A_LEASED] + 1, true
  local shared = sharing[q.rev]
  if not shared then return c, 0 end
  shared[lane + 2] = shared[lane + 2] + max(1, floor(c / LANE_WEIGHT[lane]))
  if idle_lane then shared[idle_lane + 2] = max(shared[idle_lane + 2], shared[lane + 2]) end
  return c, shared[1]
end
-- After a lease: behind those with smaller tags now, or gone.
local function replace(t, lane, place, v, left)
  local stays = left and not parked(t)
  if left and #t > T_PLACES + 1 or not left and #t >= T_PLACES then
    -- It stands in other places too.
    if not left then put(place, t[T_NAME], false) end
    if parked(t) then park(t) else show(t, lane) end
    return
  end
  orders[place] = orders[place] or {}
  orders[place][t[T_NAME]] = stays and tag(t, lane)
  lows[place] = nil
  if stays then move_back(v, t, lane) else v.first = v.first + 1 end
end
`;

/** Requests that have cost a unit its life are leased alone, so that they take no neighbours with them. */
export const suspects = String.raw`
local function never_runs(t)
  return t[T_CAP] == 0
end
-- The first in one place whose tenant is not held up. Those behind the first page are looked at when all of it is.
local function first_suspect(place, is_held_up, passed)
  local from = 0
  for _, to in ipairs({ ${SUSPECT_PAGE}, ${SUSPECT_SCAN} }) do
    local list = call('ZRANGE', base .. 'sus:' .. place, from, to - 1, 'WITHSCORES')
    for i = 1, #list, 2 do
      local m, deadline = list[i], tonumber(list[i + 1]) % SCORE_STEP
      if deadline < NO_DEADLINE and deadline <= now then
        passed[#passed + 1] = m
      elseif not is_held_up(tenant(string.sub(m, 23))) then
        local r = load(id_of(m))
        if r then return r, id_of(m) end
        passed[#passed + 1] = m
      end
    end
    if #list < 2 * (to - from) then return end
    from = to
  end
end
local function pass(place, m)
  local id = id_of(m)
  local r = load(id)
  if r then
    unqueue(id, r)
    finish(id, r, EXPIRED)
  else
    -- Without its record, as a log that ends too early may leave it: it must not hold up the others.
    call('ZREM', base .. 'sus:' .. place, m)
  end
end
-- Record, id and lane; those past their deadline end on the way.
local function find_suspect(q, expire, is_held_up)
  if app[A_SUSPECTS] == 0 then return end
  for lane = 0, 1 do
    local place, passed = q.places[lane], {}
    local r, id
    if place and queued[place] then r, id = first_suspect(place, is_held_up, passed) end
    for _, m in ipairs(expire and passed or {}) do pass(place, m) end
    if r then return r, id, lane end
  end
end
`;
