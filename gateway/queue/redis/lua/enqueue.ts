// SPDX-License-Identifier: Apache-2.0
import { core, pending } from './core.ts';

/** Arguments of one request. */
export const ENQUEUE_ARGS = 13;

/**
 * ARGV from 4, per request: id, digest, fingerprint, score, lane, tenant, revision, deadline, budgets (2), retention, body key, fixed part.
 * Answers now, 'open' or 'closed', then for each 'new', or a record with 'queued' (the same id again) or 'joined', or 'conflict' and an id.
 * New ones are written together: of a batch each redis.call costs more than what it writes.
 */
export const ENQUEUE = String.raw`${core}${pending}
local PER = ${ENQUEUE_ARGS}
local n = (#ARGV - 3) / PER
if closed() then return { now, 'closed' } end
-- First of all writes: a server at its maxmemory refuses it, and with it the whole run.
local seq = call('HINCRBY', k_m, 'seq', n) - n
local answers = { now, 'open' }

local to_st, to_rq, to_dd, arrivals, tenants = {}, {}, {}, {}, {}
local fresh = {}
local function write_new()
  if #to_st == 0 then return end
  call('HSET', k_st, unpack(to_st))
  call('HSET', base .. 'rq', unpack(to_rq))
  call('HSET', base .. 'dd', unpack(to_dd))
  for rev, items in pairs(arrivals) do
    call('ZADD', base .. 'arr:' .. rev, unpack(items))
    call('SADD', base .. 'revs', rev)
  end
  for _, r in pairs(tenants) do settle(r[LANE], r[REV], r[TENANT]) end
  to_st, to_rq, to_dd, arrivals, tenants, fresh = {}, {}, {}, {}, {}, {}
end
local function push(list, a, b)
  local at = #list
  list[at + 1], list[at + 2] = a, b
end
local function add(id, r, a)
  push(to_st, id, pack(r))
  push(to_rq, id, ARGV[a + 12])
  push(to_dd, r[DIGEST], id .. ARGV[a + 2])
  fresh[id], fresh[r[DIGEST]] = true, true
  local key = queue_key(r)
  call('ZADD', key, r[SCORE], member(id, r))
  tenants[key] = r
  arrivals[r[REV]] = arrivals[r[REV]] or {}
  push(arrivals[r[REV]], now, id)
  if r[DEADLINE] > 0 then call('ZADD', base .. 'dl', r[DEADLINE], id) end
  -- The first time this call came it joined a request that has ended badly since: its body has an owner after all.
  if r[BODY_KEY] ~= '' then call('ZREM', base .. 'obj', '-' .. r[BODY_KEY]) end
  ready = true
end

local function whole(kind, id, s)
  return { kind, id, s, call('HGET', base .. 'rq', id), call('HGET', base .. 'rs', id) or '', call('HGET', base .. 'at', id) or '' }
end
-- A request that is queued, leased or succeeded takes the newcomer in: neither one that is being cancelled, whose result nobody will
-- get, nor one past its retention, which may go at any moment.
local function join(a, known)
  local id = string.sub(known, 1, 16)
  local s = call('HGET', k_st, id)
  local r = s and unpack_(s)
  if not r or r[STATE] > SUCCEEDED or r[CANCEL] == 1 then return end
  if r[STATE] == SUCCEEDED and r[FINISHED] + r[RETENTION] <= now then return end
  local body_key, theirs, mine = ARGV[a + 11], string.sub(known, 17), ARGV[a + 2]
  -- The body that was stored for this request serves nobody now.
  if body_key ~= '' and body_key ~= r[BODY_KEY] then call('ZADD', base .. 'obj', now, '-' .. body_key) end
  if mine ~= '' and theirs ~= '' and mine ~= theirs then return { 'conflict', id } end
  return whole('joined', id, s)
end

local ids, digests = {}, {}
for i = 1, n do
  local a = 4 + (i - 1) * PER
  ids[i], digests[i] = ARGV[a], ARGV[a + 1]
end
local states, known = call('HMGET', k_st, unpack(ids)), call('HMGET', base .. 'dd', unpack(digests))
for i = 1, n do
  local a, id, digest = 4 + (i - 1) * PER, ids[i], digests[i]
  if fresh[id] or fresh[digest] then
    -- Two of this run concern each other.
    write_new()
    states[i], known[i] = call('HGET', k_st, id), call('HGET', base .. 'dd', digest)
  end
  local answer = states[i] and whole('queued', id, states[i]) or known[i] and join(a, known[i])
  if not answer then
    answer = 'new'
    add(id, {
      QUEUED, seq + i, tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4]), ARGV[a + 5], ARGV[a + 6], tonumber(ARGV[a + 7]),
      tonumber(ARGV[a + 8]), tonumber(ARGV[a + 9]), tonumber(ARGV[a + 10]), now, 0, '', '', 0, 0, 0, 0, 0, 0, 0, ARGV[a + 11], '', digest
    }, a)
  end
  answers[i + 2] = answer
end
write_new()
tell()
return answers
`;
