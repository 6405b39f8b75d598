// SPDX-License-Identifier: Apache-2.0
import { LANES } from '../../lease-queue.ts';
import { DEADLINE_LIMIT, TAG_LIMIT, WHOLE_GPU } from '../../limits.ts';

/**
 * The Lua lives in TypeScript modules, so that a bundle holds it without a loader. Every script starts with `core`; the other parts
 * are added where they are needed. Keys of one app share its hash tag; KEYS[1] is the app's meta hash and the others stand beside it
 * (<place> = lane:revision):
 *   m     hash: gen (generation), s (APP_FIELDS), e:<rev> (estimates: any class, then each), closed (1 being purged, 2 gone),
 *         swept (ms at which the newest swept request was made), dead (deaths not told yet)
 *   t     hash: tenant → msgpack array by TENANT_FIELDS, then pairs of place and number queued there; absent = nothing to know of it
 *   rq    hash: id → msgpack array by FIXED_FIELDS, then the driver's own part and the inline body. Never rewritten.
 *   st    hash: id → msgpack array by FIXED_FIELDS and STATE_FIELDS, then the result. Absent of a request that was never leased.
 *   at    hash: id → ended attempts, one JSON array a line
 *   dd    hash: digest of dedupe key → id and fingerprint       fin  zset: finished id by end of retention
 *   lease zset: leased id by end of lease                       dl   zset: queued id by deadline
 *   dead, dlt:<tenant> zset: id of a dead letter by its death   arr:<place> zset: queued id by creation
 *   act:<place> zset: tenant that may be leased from by its tag q:<place>:<tenant>, sus:<place> zset: `member`, `suspect_member` by score
 *   u     hash: unit → msgpack array by UNIT_FIELDS             ul   hash: unit → leases it holds
 *   uf    zset: unit by when it is forgotten at the earliest    ur:<rev> set: units of the revision that are not retired
 *   obj   zset: object keys by when they are looked at: '+' epoch id key = noted, '-' key = to be deleted
 * Ids are 16 raw bytes. ARGV: channel, app uid, now (empty: Redis' own time), then the script's own. Every script answers the app's
 * generation and its own answer.
 */
export const FIXED_FIELDS = [
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
  'BODY_KEY',
  'DIGEST',
  'COST',
  'CLASS',
] as const;

export const STATE_FIELDS = [
  ...FIXED_FIELDS,
  'STATE',
  'EPOCH',
  'NONCE',
  'UNIT',
  'LEASED_AT',
  /** Millionths of a GPU that the last lease occupied, and what its tenant was charged for it. */
  'FRACTION',
  'CHARGED',
  /** Number of the lanes' sharing in which it was leased. */
  'PERIOD',
  /** When it was queued again. */
  'SINCE',
  'FAILURES',
  'LOSSES',
  'CANCEL',
  'DEAD',
  'FINISHED',
  'SERVICE',
  'RESULT_KEY',
  /** Id, in hex digits, of the request that a redrive made. */
  'REDRIVEN',
  /** 1 once it has a state in `st`. */
  'STORED',
] as const;

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
  ...numbered(STATE_FIELDS, 1),
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

-- As Redis orders members. Lua itself compares strings by the locale (strcoll).
local function before(a, b)
  for i = 1, min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- A record as an array by STATE_FIELDS; of one that was never leased from its fixed part.
local function from_fixed(s)
  local _, f = cmsgpack.unpack_one(s, 0)
  -- All at once: a table that grows field by field is copied with every doubling.
  return {
    f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8], f[9], f[10], f[11], f[12], f[13], f[14],
    QUEUED, 0, '', '', 0, WHOLE_GPU, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', '', 0
  }
end
local function from_state(s)
  local _, r = cmsgpack.unpack_one(s, 0)
  return r
end
local function load(id)
  local s = call('HGET', k_st, id)
  if s then return from_state(s) end
  s = call('HGET', k_rq, id)
  return s and from_fixed(s)
end
local function save(id, r)
  r[STORED], changed = 1, true
  call('HSET', k_st, id, pack(r))
end
local function matches(r, unit, epoch, nonce)
  return r[NONCE] ~= '' and r[NONCE] == nonce and r[EPOCH] == tonumber(epoch) and r[UNIT] == unit
end
local function whole(kind, id)
  return { kind, id, call('HGET', k_st, id) or '', call('HGET', k_rq, id), call('HGET', base .. 'at', id) or '' }
end
local function tell()
  if ready then call('PUBLISH', channel, 'r' .. uid) end
  if #done > 0 then call('PUBLISH', channel, 'd' .. uid .. ':' .. table.concat(done)) end
end
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
local function unit_of(name)
  local s = call('HGET', base .. 'u', name)
  return s and unpack_(s)
end
local function save_unit(name, u)
  call('HSET', base .. 'u', name, pack(u))
end
`;
