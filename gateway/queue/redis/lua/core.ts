// SPDX-License-Identifier: Apache-2.0
import { LANES } from '../../lease-queue.ts';
import { CANCELLED_MESSAGE, LOST_MESSAGE, MAX_ATTEMPTS_KEPT } from '../../limits.ts';

/**
 * The Lua lives in TypeScript modules, so that a bundle holds it without a loader. Every script starts with `core`; the other parts
 * are added where they are needed. Keys of one app share its hash tag; KEYS[1] is the app's meta hash and the others stand beside it:
 *   m     hash: seq (arrivals), closed (1 being purged, 2 gone), swept (ms at which the newest swept request was made)
 *   st    hash: id → state, msgpack array by STATE_FIELDS       rq  hash: id → fixed part and inline body
 *   rs    hash: id → result and its inline bytes                at  hash: id → ended attempts, one JSON array a line
 *   dd    hash: digest of dedupe key → id and fingerprint       fin zset: finished id by end of retention
 *   lease zset: leased id by end of lease                       dl  zset: queued id by deadline
 *   revs  set: revisions with queued work                       arr:<rev> zset: queued id by creation
 *   act:<lane>:<rev> zset: tenant with work by its turn         q:<lane>:<rev>:<tenant> zset: arrival and id by order score
 *   u     hash: unit → msgpack array by UNIT_FIELDS             ul  hash: unit → leases it holds
 *   uf    zset: unit by when it is forgotten at the earliest                    ur:<rev> set: units of the revision that are not retired
 *   obj   zset: object keys by when they are looked at: '+' epoch id key = noted, '-' key = to be deleted
 * Ids are 16 raw bytes. ARGV: channel, app uid, now (empty: Redis' own time), then the script's own.
 */
export const STATE_FIELDS = [
  'STATE',
  'SEQ',
  'SCORE',
  'LANE',
  'TENANT',
  'REV',
  'DEADLINE',
  'MAX_ATTEMPTS',
  'MAX_LOSSES',
  'RETENTION',
  'CREATED',
  'EPOCH',
  'NONCE',
  'UNIT',
  'LEASED_AT',
  'FAILURES',
  'LOSSES',
  'CANCEL',
  'DEAD',
  'FINISHED',
  'SERVICE',
  'BODY_KEY',
  'RESULT_KEY',
  'DIGEST',
] as const;

const UNIT_FIELDS = ['U_REV', 'U_IDLE', 'U_RETIRED', 'U_SEEN', 'U_NONCE', 'U_GIVEN'] as const;

/** Numbers of the states in Lua. */
export const STATES = ['queued', 'leased', 'succeeded', 'failed', 'cancelled', 'expired'] as const;

function constants(names: readonly string[], first: number): string {
  return `local ${names.join(', ')} = ${names.map((_, i) => i + first).join(', ')}`;
}

export const core = String.raw`
${constants(STATE_FIELDS, 1)}
${constants(UNIT_FIELDS, 1)}
${constants(
  STATES.map((state) => state.toUpperCase()),
  0,
)}
local call, pack, unpack_ = redis.call, cmsgpack.pack, cmsgpack.unpack
local base = string.sub(KEYS[1], 1, -2)
local k_m, k_st, k_lease = KEYS[1], base .. 'st', base .. 'lease'
local channel, uid, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not now then
  local t = call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local ready, done = false, {}

local function load(id)
  local s = call('HGET', k_st, id)
  return s and unpack_(s)
end
local function save(id, r)
  call('HSET', k_st, id, pack(r))
end
local function closed()
  return call('HGET', k_m, 'closed')
end
local function tell()
  if ready then call('PUBLISH', channel, 'r' .. uid) end
  if #done > 0 then call('PUBLISH', channel, 'd' .. uid .. ':' .. table.concat(done)) end
end
local function matches(r, unit, epoch, nonce)
  return r[NONCE] ~= '' and r[NONCE] == nonce and r[EPOCH] == tonumber(epoch) and r[UNIT] == unit
end
`;

/** Places in the queue: lane and revision → tenant → priority, deadline, arrival. */
export const pending = String.raw`
local function member(id, r)
  return struct.pack('>I6', r[SEQ]) .. id
end
local function queue_key(r)
  return base .. 'q:' .. r[LANE] .. ':' .. r[REV] .. ':' .. r[TENANT]
end
-- A tenant's place follows its head; without work it has none. The fair order puts its virtual time here.
local function settle(lane, rev, tenant)
  local act = base .. 'act:' .. lane .. ':' .. rev
  local head = call('ZRANGE', base .. 'q:' .. lane .. ':' .. rev .. ':' .. tenant, 0, 0)[1]
  if head then
    call('ZADD', act, struct.unpack('>I6', head), tenant)
  else
    call('ZREM', act, tenant)
  end
end
local function queue(id, r)
  local key, mine = queue_key(r), member(id, r)
  call('ZADD', key, r[SCORE], mine)
  if call('ZRANGE', key, 0, 0)[1] == mine then call('ZADD', base .. 'act:' .. r[LANE] .. ':' .. r[REV], r[SEQ], r[TENANT]) end
  call('ZADD', base .. 'arr:' .. r[REV], r[CREATED], id)
  call('SADD', base .. 'revs', r[REV])
  if r[DEADLINE] > 0 then call('ZADD', base .. 'dl', r[DEADLINE], id) end
  ready = true
end
local function unqueue(id, r)
  call('ZREM', queue_key(r), member(id, r))
  settle(r[LANE], r[REV], r[TENANT])
  call('ZREM', base .. 'arr:' .. r[REV], id)
  if r[DEADLINE] > 0 then call('ZREM', base .. 'dl', id) end
end
`;

/** The end of an attempt and of a request. Needs pending. */
export const ending = String.raw`
local function finish(id, r, state)
  r[STATE], r[FINISHED], r[CANCEL] = state, now, 0
  save(id, r)
  call('ZADD', base .. 'fin', now + r[RETENTION], id)
  done[#done + 1] = id
end
local function drop_lease(id, r)
  call('ZREM', k_lease, id)
  call('HINCRBY', base .. 'ul', r[UNIT], -1)
end
local function end_attempt(id, r, kind, message)
  drop_lease(id, r)
  local key = base .. 'at'
  local line = cjson.encode({ r[EPOCH], r[UNIT], r[LEASED_AT], now, kind, message })
  local before = call('HGET', key, id)
  if before then
    local _, breaks = string.gsub(before, '\n', '\n')
    if breaks + 2 > ${MAX_ATTEMPTS_KEPT} then before = string.match(before, '^[^\n]*\n(.*)$') end
    line = before .. '\n' .. line
  end
  call('HSET', key, id, line)
end
-- Back to its original place; a cancelled request, or one of a closed app, ends here instead.
local function requeue(id, r)
  if r[CANCEL] == 1 or closed() then
    finish(id, r, CANCELLED)
    return 'cancelled'
  end
  r[STATE] = QUEUED
  queue(id, r)
  save(id, r)
  return 'requeued'
end
local function die(id, r)
  r[DEAD] = 1
  call('HINCRBY', k_m, 'dead', 1)
  finish(id, r, FAILED)
  return 'failed'
end
local function spend_loss(id, r)
  r[LOSSES] = r[LOSSES] + 1
  if r[CANCEL] == 1 or r[LOSSES] <= r[MAX_LOSSES] then return requeue(id, r) end
  return die(id, r)
end
-- The token stays good for a late result until the request is leased again.
local function end_overdue(limit)
  local ids = call('ZRANGEBYSCORE', k_lease, '-inf', now, 'LIMIT', 0, limit)
  for _, id in ipairs(ids) do
    local r = load(id)
    end_attempt(id, r, 'lost', '${LOST_MESSAGE}')
    spend_loss(id, r)
  end
  return #ids
end
local CANCELLED_MESSAGE = '${CANCELLED_MESSAGE}'
`;

/** Work of revisions without a unit moves to the current one, with its place kept. Needs pending. */
export const rekeying = String.raw`
local function stranded(rev, current)
  return rev ~= current and call('SCARD', base .. 'ur:' .. rev) == 0 and call('ZCARD', base .. 'arr:' .. rev) > 0
end
local function rekey(current, limit)
  local revs = call('SMEMBERS', base .. 'revs')
  if #revs == 1 and revs[1] == current then return end
  table.sort(revs)
  local left = limit
  for _, rev in ipairs(revs) do
    if stranded(rev, current) then
      for _, id in ipairs(call('ZRANGE', base .. 'arr:' .. rev, 0, left - 1)) do
        local r = load(id)
        unqueue(id, r)
        r[REV] = current
        queue(id, r)
        save(id, r)
        left = left - 1
      end
      if left <= 0 then return end
    elseif call('EXISTS', base .. 'arr:' .. rev) == 0 then
      call('SREM', base .. 'revs', rev)
    end
  end
end
`;

/** Who is alive, and who must never come back. */
export const units = String.raw`
local function unit_of(name)
  local s = call('HGET', base .. 'u', name)
  return s and unpack_(s)
end
local function save_unit(name, u)
  call('HSET', base .. 'u', name, pack(u))
end
local function holds(name)
  return tonumber(call('HGET', base .. 'ul', name) or 0)
end
`;

export const LANE_NUMBERS: Readonly<Record<string, number>> = Object.fromEntries(LANES.map((lane, i) => [lane, i]));
