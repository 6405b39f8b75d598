// SPDX-License-Identifier: Apache-2.0
import type { Mutation } from './mutation.ts';

const driver = 'redis';
const LUA = 'gateway/queue/redis/lua';

/** Bugs of the Lua. */
export const REDIS_MUTATIONS: readonly Mutation[] = [
  {
    name: 'redis-nonce-unchecked',
    driver,
    file: `${LUA}/core.ts`,
    from: "r[NONCE] ~= '' and r[NONCE] == nonce and",
    to: "r[NONCE] ~= '' and",
  },
  {
    name: 'redis-requeued-twice',
    driver,
    file: `${LUA}/requests.ts`,
    from: 'r[STATE], r[SINCE] = QUEUED, now\n  queue(id, r)\n',
    // Counted once in its place, or the bug would show as a script that fails where it looks for the oldest.
    to:
      'r[STATE], r[SINCE] = QUEUED, now\n  queue(id, r)\n' +
      '  if r[LOSSES] == 0 then\n    r[SEQ] = r[SEQ] + 1\n    queue(id, r)\n    r[SEQ] = r[SEQ] - 1\n' +
      '    count(place_of(r), -1)\n  end\n',
  },
  {
    name: 'redis-charge-not-corrected',
    driver,
    file: `${LUA}/fair.ts`,
    from: 'if delta == 0 then return end',
    to: 'if delta == delta then return end',
  },
  {
    name: 'redis-unit-keeps-its-count',
    driver,
    file: `${LUA}/fair.ts`,
    from: 'hold(r[UNIT], -1)',
    to: '',
  },
  {
    name: 'redis-tenant-keeps-its-count',
    driver,
    file: `${LUA}/fair.ts`,
    from: 't[T_HELD], touched[t] = t[T_HELD] - 1, true',
    to: 'touched[t] = true',
  },
  {
    name: 'redis-enqueue-forgotten',
    driver,
    file: `${LUA}/enqueue.ts`,
    from: 'push(to_rq, id, fixed_part(r) .. ARGV[a + 12])',
    to: 'if seq % 5 > 0 then push(to_rq, id, fixed_part(r) .. ARGV[a + 12]) end',
  },
  {
    name: 'redis-result-after-cancel',
    driver,
    file: `${LUA}/scripts.ts`,
    from: "if r[STATE] == LEASED and r[CANCEL] == 1 then\n    end_attempt(id, r, 'released', CANCELLED_TEXT)",
    to: "if false then\n    end_attempt(id, r, 'released', CANCELLED_TEXT)",
  },
  {
    name: 'redis-equal-request-not-joined',
    driver,
    file: `${LUA}/enqueue.ts`,
    from: 'if not r or r[STATE] > SUCCEEDED or r[CANCEL] == 1 then return end',
    to: 'if not r or r[STATE] > QUEUED or r[CANCEL] == 1 then return end',
  },
  {
    name: 'redis-completed-lease-kept',
    driver,
    file: `${LUA}/scripts.ts`,
    from: "write_all('ZREM', k_lease, dropped)\n",
    to: "if #dropped > 1 then write_all('ZREM', k_lease, dropped) end\n",
  },
  {
    name: 'redis-letter-redriven-twice',
    driver,
    file: `${LUA}/letters.ts`,
    from: "if earlier and call('HEXISTS', k_rq, earlier) == 1 then return whole('redriven', earlier) end\n  if not r or r[DEAD] == 0 then",
    to: 'if not r or (r[DEAD] == 0 and not earlier) then',
  },
  {
    name: 'redis-redriven-letter-keeps-its-place',
    driver,
    file: `${LUA}/letters.ts`,
    from: '  r[DEAD], r[REDRIVEN] = 0, hex(other)\n  unlist(id, r)\n',
    to: '  r[DEAD], r[REDRIVEN] = 0, hex(other)\n',
  },
];
