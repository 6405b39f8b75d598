// SPDX-License-Identifier: Apache-2.0
import { LANES } from '../../lease-queue.ts';
import { DEADLINE_LIMIT, TAG_LIMIT, WHOLE_GPU } from '../../limits.ts';
import { RECORD_FIELDS, records } from '../record-layout.ts';

/**
 * The Lua lives in TypeScript modules, so that a bundle holds it without a loader. Every script starts with `core`; the other parts
 * are added where they are needed. Keys of one app share its hash tag; KEYS[1] is the app's meta hash and the others stand beside it
 * (<place> = lane:revision):
 *   m     hash: gen (generation), s (APP_FIELDS), e:<rev> (estimates: any class, then each), closed (1 being purged, 2 gone),
 *         swept (ms at which the newest swept request was made), dead (deaths not told yet), mend and mended (mending.ts; ms of its end)
 *   t     hash: tenant → msgpack array by TENANT_FIELDS, then pairs of place and number queued there; absent = nothing to know of it
 *   rq    hash: id → fixed part (record-layout.ts), then the driver's own part and the inline body. Never rewritten.
 *   st    hash: id → fixed part and state (record-layout.ts), then the result. Absent of a request that was neither leased
 *         nor moved to another revision, nor ended before.
 *   at    hash: id → ended attempts, one JSON array a line
 *   dd    hash: digest of dedupe key → id and fingerprint       fin  zset: finished id by end of retention
 *   lease zset: leased id by end of lease                       dl   zset: queued id by deadline
 *   dead, dlt:<tenant> zset: id of a dead letter by its death   arr:<place> zset: queued id by creation
 *   act:<place> zset: tenant that may be leased from by its tag q:<place>:<tenant>, sus:<place> zset: `member`, `suspect_member` by score
 *   u     hash: unit → its UNIT_FIELDS, packed             ul   hash: unit → leases it holds
 *   uf    zset: unit by when it is forgotten at the earliest    ur:<rev> set: units of the revision that are not retired
 *   obj   zset: object keys by when they are looked at: '+' epoch id key = noted, '-' key = to be deleted
 * Ids are 16 raw bytes. ARGV: channel, app uid, now (empty: Redis' own time), then the script's own. Every script answers the app's
 * generation and its own answer.
 */
const UNIT_FIELDS = ['U_REV', 'U_IDLE', 'U_RETIRED', 'U_SEEN', 'U_NONCE', 'U_GIVEN', 'U_SUSPECT'] as const;

/** Tags and floors of the lanes lie side by side: T_TAG + lane. The caps are -1 where there are none. */
const TENANT_FIELDS = [
  'T_NAME',
  'T_WEIGHT',
  'T_CAP',
  'T_FULL',
  'T_HELD',
  'T_TAG',
  '',
  'T_FLOOR',
  '',
  'T_SUSPECTS',
  'T_PLACES',
];

/** A_TIME + lane: virtual time. A_QUEUED: place → number queued. A_SHARING: revision → period, tags of the lanes. */
const APP_FIELDS = [
  'A_SEQ',
  'A_TIME',
  '',
  'A_LEASED',
  'A_SUSPECTS',
  'A_PERIODS',
  'A_DRAIN',
  'A_SCAN',
  'A_QUEUED',
  'A_SHARING',
];

/** Numbers of the states in Lua. */
export const STATES = ['queued', 'leased', 'succeeded', 'failed', 'cancelled', 'expired'] as const;

export const LANE_NUMBERS: Readonly<Record<string, number>> = Object.fromEntries(LANES.map((lane, i) => [lane, i]));

const numbered = (names: readonly string[], first: number): [string, number][] =>
  names.map((name, i) => [name, i + first]);

const CONSTANTS = new Map<string, number>([
  ...numbered(RECORD_FIELDS, 1),
  ...numbered(UNIT_FIELDS, 1),
  ...numbered(TENANT_FIELDS, 1),
  ...numbered(APP_FIELDS, 1),
  ...numbered(
    STATES.map((state) => state.toUpperCase()),
    0,
  ),
  ['NO_DEADLINE', DEADLINE_LIMIT],
  ['SCORE_STEP', DEADLINE_LIMIT + 1],
  ['TAG_LIMIT', TAG_LIMIT],
  ['WHOLE_GPU', WHOLE_GPU],
]);

/** Puts numbers for the names of fields and states: as Lua locals each would cost time in every run, and count against the 60 upvalues of a function. */
export function withConstants(text: string): string {
  return text.replaceAll(/\b[A-Z][A-Z_]+\b/g, (word) => String(CONSTANTS.get(word) ?? word));
}

/**
 * What follows is a function of its own. For each local of the running function that a closure takes, Lua walks a list of all that are
 * taken (luaF_findupval); those of an outer one it copies. Of the hundred functions that a run makes that is most of the cost.
 */
export const inner = 'return (function()';

/** Ends what `inner` began. */
export function closed(text: string): string {
  return text + '\nend)()'.repeat(text.split(inner).length - 1);
}

/** A thousand pairs. Even, so that no pair is torn. */
const VALUES_AT_ONCE = 2_000;

export const core = String.raw`
local call, pack, unpack_, floor, max, min = redis.call, cmsgpack.pack, cmsgpack.unpack, math.floor, math.max, math.min
local base = string.sub(KEYS[1], 1, -2)
local k_m, k_st, k_rq, k_lease = KEYS[1], base .. 'st', base .. 'rq', base .. 'lease'
local channel, uid, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not now then
  local t = call('TIME')
  now = t[1] * 1000 + floor(t[2] / 1000)
end
local m, flat = {}, call('HGETALL', k_m)
for i = 1, #flat, 2 do m[flat[i]] = flat[i + 1] end
local closed, gen = m.closed, tonumber(m.gen or 0)
local ready, done, changed = false, {}, false

-- Lua's stack holds some 8 000 values: of lists that may grow so far a part goes to Redis at a time. Its replies one after another.
local function write_all(command, key, list)
  for i = 1, #list, ${VALUES_AT_ONCE} do call(command, key, unpack(list, i, min(i + ${VALUES_AT_ONCE - 1}, #list))) end
end
local function read_all(key, fields)
  if #fields > 0 and #fields <= ${VALUES_AT_ONCE} then return call('HMGET', key, unpack(fields)) end
  local found = {}
  for i = 1, #fields, ${VALUES_AT_ONCE} do
    for _, s in ipairs(call('HMGET', key, unpack(fields, i, min(i + ${VALUES_AT_ONCE - 1}, #fields)))) do found[#found + 1] = s end
  end
  return found
end

-- As Redis orders members. Lua itself compares strings by the locale (strcoll). Six bytes at a time: equal tags are frequent.
local function before(a, b)
  local n, i = min(#a, #b), 1
  while i + 5 <= n do
    local x, y = struct.unpack('>I6', a, i), struct.unpack('>I6', b, i)
    if x ~= y then return x < y end
    i = i + 6
  end
  for k = i, n do
    local x, y = string.byte(a, k), string.byte(b, k)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- Numbers of arguments and as arguments: those of a run are few, and each conversion takes as long as a call of a function with ten.
local numbers, texts = {}, {}
local function number(s)
  local n = numbers[s]
  if not n then
    n = tonumber(s)
    numbers[s] = n
  end
  return n
end
local function text(n)
  local s = texts[n]
  if not s then
    s = string.format('%.17g', n)
    texts[n] = s
  end
  return s
end
${records}local function load(id)
  local s = call('HGET', k_st, id)
  if s then return from_state(s) end
  s = call('HGET', k_rq, id)
  return s and from_fixed(s)
end
local function save(id, r)
  r[STORED], changed = 1, true
  call('HSET', k_st, id, whole_state(r))
end
local function matches(r, unit, epoch, nonce)
  return r[NONCE] ~= '' and r[NONCE] == nonce and r[EPOCH] == number(epoch) and r[UNIT] == unit
end
local function whole(kind, id)
  return { kind, id, call('HGET', k_st, id) or '', call('HGET', k_rq, id), call('HGET', base .. 'at', id) or '' }
end
local function tell()
  if ready then call('PUBLISH', channel, 'r' .. uid) end
  if #done > 0 then call('PUBLISH', channel, 'd' .. uid .. ':' .. table.concat(done)) end
end
${inner}
`;

/** Off the dead letters, the app's and its tenant's. */
export const unlisting = String.raw`
local function unlist(id, r)
  call('ZREM', base .. 'dead', id)
  call('ZREM', base .. 'dlt:' .. r[TENANT], id)
end
`;

/** Who is alive, and who must never come back. */
export const units = String.raw`
local function unit_from(s)
  return { struct.unpack('>Bc0dBdBc0Hc0B', s) }
end
local function packed_unit(u)
  return struct.pack(
    '>Bc0dBdBc0Hc0B', #u[U_REV], u[U_REV], u[U_IDLE], u[U_RETIRED], u[U_SEEN], #u[U_NONCE], u[U_NONCE], #u[U_GIVEN], u[U_GIVEN], u[U_SUSPECT]
  )
end
local function unit_of(name)
  local s = call('HGET', base .. 'u', name)
  return s and unit_from(s)
end
local function save_unit(name, u)
  call('HSET', base .. 'u', name, packed_unit(u))
end
`;
