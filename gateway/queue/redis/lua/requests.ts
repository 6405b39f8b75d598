// SPDX-License-Identifier: Apache-2.0
import { CANCELLED_MESSAGE, LOST_MESSAGE, MAX_ATTEMPTS_KEPT } from '../../limits.ts';

/**
 * Places of requests in the queue: lane and revision → tenant → priority, deadline, arrival. Those that have cost a unit its life
 * stand apart, whatever their tenant. Needs fair.
 */
export const pending = String.raw`
-- Arrival, id, then what a pick must know without the record: size class, whether it has a state (32), the cost its client told.
local function member(id, r)
  local s = struct.pack('>I6', r[SEQ]) .. id .. string.char(r[CLASS] + 32 * r[STORED])
  return r[COST] > 0 and s .. struct.pack('>I6', r[COST]) or s
end
-- Of a suspect: with all that a look for the next one must know, beside its score.
local function suspect_member(id, r)
  return struct.pack('>I6', r[SEQ]) .. id .. r[TENANT]
end
local function id_of(m)
  return string.sub(m, 7, 22)
end
local function place_of(r)
  return r[LANE] .. ':' .. r[REV]
end
local function queue(id, r)
  local place, t = place_of(r), tenant(r[TENANT])
  if r[LOSSES] > 0 then
    call('ZADD', base .. 'sus:' .. place, r[SCORE], suspect_member(id, r))
    local was = parked(t)
    t[T_SUSPECTS], app[A_SUSPECTS] = t[T_SUSPECTS] + 1, app[A_SUSPECTS] + 1
    rejudge(t, was)
  else
    call('ZADD', base .. 'q:' .. place .. ':' .. r[TENANT], r[SCORE], member(id, r))
    enter(t, place)
  end
  call('ZADD', base .. 'arr:' .. place, r[CREATED], id)
  if r[DEADLINE] > 0 then call('ZADD', base .. 'dl', r[DEADLINE], id) end
  count(place, 1)
  ready = true
end
-- stays: its tenant is judged by the caller, or queued again at once.
local function unqueue(id, r, stays)
  local place, t = place_of(r), tenant(r[TENANT])
  if r[LOSSES] > 0 then
    call('ZREM', base .. 'sus:' .. place, suspect_member(id, r))
    local was = parked(t)
    t[T_SUSPECTS], app[A_SUSPECTS], touched[t] = t[T_SUSPECTS] - 1, app[A_SUSPECTS] - 1, true
    if not stays then rejudge(t, was) end
  else
    call('ZREM', base .. 'q:' .. place .. ':' .. r[TENANT], member(id, r))
    if leave(t, place) and not parked(t) then put(place, r[TENANT], false) end
  end
  call('ZREM', base .. 'arr:' .. place, id)
  if r[DEADLINE] > 0 then call('ZREM', base .. 'dl', id) end
  count(place, -1)
end
`;

/** The end of a request. */
export const finishing = String.raw`
local function finish(id, r, state, keep)
  r[STATE], r[FINISHED], r[CANCEL] = state, now, 0
  save(id, r)
  call('ZADD', base .. 'fin', now + max(r[RETENTION], keep or 0), id)
  done[#done + 1] = id
end
`;

const overdue = String.raw`
-- The token stays good for a late result until the request is leased again.
local function end_overdue(limit)
  local list = call('ZRANGEBYSCORE', k_lease, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
  for i = 1, #list, 2 do
    local id = list[i]
    local r = load(id)
    if r then
      end_attempt(id, r, 'lost', '${LOST_MESSAGE}', min(now, tonumber(list[i + 1])))
      spend_loss(id, r)
    else
      -- Without its record, as a log that ends too early may leave it: it must not hold up the others.
      call('ZREM', k_lease, id)
      app[A_LEASED], changed = app[A_LEASED] - 1, true
    end
  end
  return #list / 2
end
`;

/** @param deadRetentionMs how long dead letters stay at least */
export const ending = (deadRetentionMs: number): string => String.raw`
local CANCELLED_TEXT = '${CANCELLED_MESSAGE}'
local function drop_lease(id, r)
  call('ZREM', k_lease, id)
  give_room(r)
end
local function elapsed(r, ended)
  return floor(max(0, ended - r[LEASED_AT]) * r[FRACTION] / 1000)
end
-- Given back unfinished costs nothing, but for one whose end the client asked for: its GPU time is spent.
local function end_attempt(id, r, kind, message, ended)
  correct(r, kind == 'released' and r[CANCEL] == 0 and 0 or elapsed(r, ended or now))
  drop_lease(id, r)
  local key = base .. 'at'
  local line = cjson.encode({ r[EPOCH], r[UNIT], r[LEASED_AT], now, kind, message })
  local earlier = call('HGET', key, id)
  if earlier then
    local _, breaks = string.gsub(earlier, '\n', '\n')
    if breaks + 2 > ${MAX_ATTEMPTS_KEPT} then earlier = string.match(earlier, '^[^\n]*\n(.*)$') end
    line = earlier .. '\n' .. line
  end
  call('HSET', key, id, line)
end
-- Back to its original place; a cancelled request, or one of a closed app, ends here instead.
local function requeue(id, r)
  if r[CANCEL] == 1 or closed then
    finish(id, r, CANCELLED)
    return 'cancelled'
  end
  r[STATE], r[SINCE] = QUEUED, now
  queue(id, r)
  save(id, r)
  return 'requeued'
end
local function die(id, r)
  r[DEAD] = 1
  call('HINCRBY', k_m, 'dead', 1)
  call('ZADD', base .. 'dead', now, id)
  -- Who asks for the letters of one tenant looks at no others.
  call('ZADD', base .. 'dlt:' .. r[TENANT], now, id)
  finish(id, r, FAILED, ${deadRetentionMs})
  return 'failed'
end
local function spend_loss(id, r)
  r[LOSSES] = r[LOSSES] + 1
  if r[CANCEL] == 1 or r[LOSSES] <= r[MAX_LOSSES] then return requeue(id, r) end
  return die(id, r)
end
${overdue}`;

/** Work of revisions without a unit moves to the current one, with its order kept. Needs pending. */
export const rekeying = String.raw`
-- Ids of the oldest and their records: every one has its own.
local function oldest_of(place, limit)
  if limit <= 0 then return {}, {} end
  local listed, ids, records = call('ZRANGE', base .. 'arr:' .. place, 0, limit - 1), {}, {}
  if #listed == 0 and queued[place] then begin_mending() end
  for _, id in ipairs(listed) do
    local r = load(id)
    if r and r[STATE] == QUEUED and place_of(r) == place then
      ids[#ids + 1], records[#records + 1] = id, r
    else
      call('ZREM', base .. 'arr:' .. place, id)
      if not r then call('ZREM', base .. 'dl', id) end
      count(place, -1)
      begin_mending()
    end
  end
  return ids, records
end
local function revisions()
  local seen, list = {}, {}
  for place in pairs(queued) do
    local rev = string.sub(place, 3)
    if not seen[rev] then seen[rev], list[#list + 1] = true, rev end
  end
  table.sort(list, before)
  return list
end
local function stranded(rev, current)
  return rev ~= current and call('SCARD', base .. 'ur:' .. rev) == 0
end
local function rekey(current, limit)
  local left = limit
  for _, rev in ipairs(revisions()) do
    if stranded(rev, current) then
      for lane = 0, 1 do
        local ids, records = oldest_of(lane .. ':' .. rev, left)
        for i, id in ipairs(ids) do
          local r = records[i]
          unqueue(id, r, true)
          r[REV], r[STORED] = current, 1
          queue(id, r)
          save(id, r)
          left = left - 1
        end
      end
      if left <= 0 then return end
    end
  end
end
`;
