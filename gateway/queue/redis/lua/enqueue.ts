// SPDX-License-Identifier: Apache-2.0
import { core } from './core.ts';
import { commit, costs, fair } from './fair.ts';
import { pending } from './requests.ts';

/** Arguments of one request. */
export const ENQUEUE_ARGS = 18;

/** Which live request a newcomer joins. */
export const joining = String.raw`
-- A request that is queued, leased or succeeded takes the newcomer in: neither one that is being cancelled, whose result nobody will
-- get, nor one past its retention, which may go at any moment.
local function joinable(id)
  local r = load(id)
  if not r or r[STATE] > SUCCEEDED or r[CANCEL] == 1 then return end
  if r[STATE] == SUCCEEDED and r[FINISHED] + r[RETENTION] <= now then return end
  return r
end
`;

/** The tenant of a newcomer, with the share that stands in ARGV from `a` on (weight or '' where none is told, cap, bound on queued). */
export const admission = String.raw`
-- What is left of a tenant that the app no longer knows says nothing.
local function admitted(name, a)
  local t, weight = tenant(name), tonumber(ARGV[a])
  if not known(t) then
    for i = T_TAG, T_SUSPECTS do t[i] = 0 end
    t[T_WEIGHT], t[T_CAP], t[T_FULL] = 1, -1, -1
  end
  if weight then
    local cap, full = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
    if t[T_WEIGHT] ~= weight or t[T_CAP] ~= cap or t[T_FULL] ~= full then set_share(t, weight, cap, full) end
  end
  return t
end
`;

/**
 * ARGV from 4, per request: id, digest, fingerprint, score, lane, tenant, revision, deadline, budgets (2), retention, body key, the
 * driver's part, cost, size class, share (weight or '' where none is told, cap, bound on queued; -1 = none).
 * Answers now, 'open' or 'closed', then for each 'new', or a record with 'queued' (the same id again) or 'joined', or 'conflict' and an
 * id, or 'full', queued and the bound. New ones are written together: of a batch each redis.call costs more than what it writes.
 */
export const ENQUEUE = String.raw`${core}${fair}${costs}${pending}${commit}${joining}${admission}
local PER = ${ENQUEUE_ARGS}
local n = (#ARGV - 3) / PER
if closed then return { gen, { now, 'closed' } } end
-- First of all writes: a server at its maxmemory refuses it, and with it the whole run.
call('HSET', k_m, 'gen', string.format('%.0f', gen))
local answers = { now, 'open' }

local to_rq, to_dd, arrivals, places, deadlines, fresh = {}, {}, {}, {}, {}, {}
local function add_all(lists)
  for key, items in pairs(lists) do write_all('ZADD', base .. key, items) end
end
local function write_new()
  if #to_rq == 0 then return end
  write_all('HSET', k_rq, to_rq)
  write_all('HSET', base .. 'dd', to_dd)
  add_all(arrivals)
  add_all(places)
  write_all('ZADD', base .. 'dl', deadlines)
  -- Not fresh: what was read of the others at the start is older than all that this run has written.
  to_rq, to_dd, arrivals, places, deadlines = {}, {}, {}, {}, {}
end
local function push(list, a, b)
  local at = #list
  list[at + 1], list[at + 2] = a, b
end
local function push_to(lists, key, a, b)
  lists[key] = lists[key] or {}
  push(lists[key], a, b)
end
local function add(id, digest, a)
  local seq = app[A_SEQ] + 1
  app[A_SEQ] = seq
  local r = {
    0, seq, tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4]), ARGV[a + 5], ARGV[a + 6], tonumber(ARGV[a + 7]), tonumber(ARGV[a + 8]),
    tonumber(ARGV[a + 9]), tonumber(ARGV[a + 10]), now, ARGV[a + 11], digest, tonumber(ARGV[a + 13]), tonumber(ARGV[a + 14])
  }
  push(to_rq, id, fixed_part(r) .. ARGV[a + 12])
  push(to_dd, digest, id .. ARGV[a + 2])
  fresh[id], fresh[digest] = true, true
  r[STORED] = 0
  local place = place_of(r)
  push_to(places, 'q:' .. place .. ':' .. r[TENANT], r[SCORE], member(id, r))
  push_to(arrivals, 'arr:' .. place, now, id)
  if r[DEADLINE] > 0 then push(deadlines, r[DEADLINE], id) end
  enter(tenant(r[TENANT]), place)
  count(place, 1)
  -- The first time this call came it joined a request that has ended badly since: its body has an owner after all.
  if r[BODY_KEY] ~= '' then call('ZREM', base .. 'obj', '-' .. r[BODY_KEY]) end
  ready = true
end
-- Answers what bars the request.
local function admit(a)
  local t = admitted(ARGV[a + 5], a + 15)
  local here = t[T_FULL] >= 0 and queued_of(t)
  return here and here >= t[T_FULL] and { 'full', here, t[T_FULL] }
end
local function join_known(a, entry)
  local id = string.sub(entry, 1, 16)
  local r = joinable(id)
  if not r then return end
  local body_key, theirs, mine = ARGV[a + 11], string.sub(entry, 17), ARGV[a + 2]
  -- The body that was stored for this request serves nobody now.
  if body_key ~= '' and body_key ~= r[BODY_KEY] then call('ZADD', base .. 'obj', now, '-' .. body_key) end
  if mine ~= '' and theirs ~= '' and mine ~= theirs then return { 'conflict', id } end
  return whole('joined', id)
end

local ids, digests, names = {}, {}, {}
for i = 1, n do
  local a = 4 + (i - 1) * PER
  ids[i], digests[i], names[i] = ARGV[a], ARGV[a + 1], ARGV[a + 5]
end
fetch_tenants(names)
local there, entries = read_all(k_rq, ids), read_all(base .. 'dd', digests)
for i = 1, n do
  local a, id, digest = 4 + (i - 1) * PER, ids[i], digests[i]
  if fresh[id] or fresh[digest] then
    -- Two of this run concern each other.
    write_new()
    there[i], entries[i] = call('HGET', k_rq, id), call('HGET', base .. 'dd', digest)
  end
  local answer = there[i] and whole('queued', id) or entries[i] and join_known(a, entries[i]) or admit(a)
  if not answer then
    answer = 'new'
    add(id, digest, a)
  end
  answers[i + 2] = answer
end
write_new()
commit()
tell()
return { gen, answers }
`;
