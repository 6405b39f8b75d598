// SPDX-License-Identifier: Apache-2.0
import { SUSPECT_SCAN } from '../../limits.ts';

/**
 * Choosing what is leased next. A view is the head of an `act` set, kept in order in this run: as leases only raise tags, nobody
 * behind it can come before it. Whoever falls behind its end, and every change from elsewhere, makes the run look again.
 */
export const picking = String.raw`
local views = {}
forget_view = function(place) views[place] = nil end
local function view_of(place, want)
  local v = views[place]
  if v and (v.whole or #v > 0) then return v end
  write_order(place)
  local flat = call('ZRANGE', base .. 'act:' .. place, 0, want)
  fetch_tenants(flat)
  flat.whole = #flat <= want
  views[place] = flat
  return flat
end
local function place_in_view(v, t, lane)
  local at, name, low, high = tag(t, lane), t[T_NAME], 1, #v + 1
  while low < high do
    local mid = floor((low + high) / 2)
    local other = tag(tenants[v[mid]], lane)
    if other < at or (other == at and before(v[mid], name)) then low = mid + 1 else high = mid end
  end
  if v.whole or low <= #v then table.insert(v, low, name) end
end
local function head(lane, q)
  local place = lane .. ':' .. q.rev
  if not queued[place] then return end
  local v = view_of(place, q.ask)
  return v[1] and v
end
-- Answers lane and view to take from, and the lane that has nothing to give though it was asked for.
local function next_lane(q)
  local views_ = {}
  for lane = 0, 1 do
    if q.asks[lane] then views_[lane] = head(lane, q) end
  end
  if not views_[0] and not views_[1] then return end
  if not (q.asks[0] and q.asks[1]) then return views_[0] and 0 or 1, views_[0] or views_[1] end
  if not views_[0] then return 1, views_[1], 0 end
  if not views_[1] then return 0, views_[0], 1 end
  local shared = sharing[q.rev]
  local lane = shared and shared[3] < shared[2] and 1 or 0
  return lane, views_[lane]
end
-- Online work goes first until the oldest batch request has waited for the grace; then both share until no batch work is left.
local function judge_sharing(q)
  if not queued['1:' .. q.rev] or sharing[q.rev] then return end
  local oldest = tonumber(call('ZRANGE', base .. 'arr:1:' .. q.rev, 0, 0, 'WITHSCORES')[2])
  if oldest + q.grace > now then return end
  app[A_PERIODS], changed = app[A_PERIODS] + 1, true
  sharing[q.rev] = { app[A_PERIODS], 0, 0 }
end
-- Answers the charge and the number of the lanes' sharing. A suspect is leased out of order, so it does not move the lane's time.
local function charge(q, t, lane, class, cost, idle_lane, in_order)
  local c, at = price(q.rev, class, cost, q.fraction), tag(t, lane)
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
  table.remove(v, 1)
  orders[place] = orders[place] or {}
  orders[place][t[T_NAME]] = stays and tag(t, lane)
  lows[place] = nil
  if stays then place_in_view(v, t, lane) end
end
`;

/** Requests that have cost a unit its life are leased alone, so that they take no neighbours with them. */
export const suspects = String.raw`
-- The first suspect that the unit may have: record, id, member and place.
local function find_suspect(q, expire)
  if app[A_SUSPECTS] == 0 then return end
  for lane = 0, 1 do
    local place = lane .. ':' .. q.rev
    for _, m in ipairs(q.asks[lane] and queued[place] and call('ZRANGE', base .. 'sus:' .. place, 0, ${SUSPECT_SCAN - 1}) or {}) do
      local id = id_of(m)
      local r = load(id)
      if r[DEADLINE] > 0 and r[DEADLINE] <= now then
        if expire then
          unqueue(id, r)
          finish(id, r, EXPIRED)
        end
      elseif not parked(tenant(r[TENANT])) then
        return r, id, lane
      end
    end
  end
end
`;
