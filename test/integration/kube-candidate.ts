// SPDX-License-Identifier: Apache-2.0
// One replica of a program with a leader: while it leads it acts, and each act is a line in a file shared by all replicas.
// Arguments: kubeconfig, namespace of the lease, identity, record file, JSON of LeaseTimes.
import { appendFileSync } from 'node:fs';
import { systemClock } from '#base/clock.ts';
import { createLogger } from '#base/logger.ts';
import { createShutdown, stopOnSignals } from '#base/shutdown.ts';
import { createLeaderElection } from '#kube/leader-election.ts';
import type { LeaseTimes } from '#kube/leader-election.ts';
import { aFixture } from './kube-fixture.ts';

const [kubeconfig = '', namespace = '', identity = '', record = '', times = '{}'] = process.argv.slice(2);
const logger = createLogger(identity, 'info');
const shutdown = createShutdown(logger);
const { client, metrics } = aFixture(kubeconfig, undefined, logger);
const note = (what: string): void => appendFileSync(record, `${JSON.stringify({ at: Date.now(), identity, what })}\n`);

const election = createLeaderElection({
  client,
  lease: { namespace, name: 'replicas' },
  identity,
  clock: systemClock,
  logger,
  metrics,
  times: JSON.parse(times) as LeaseTimes,
  onStarted: () => note('started'),
  onStopped: (why) => note(`stopped ${why}`),
});
// The work: as often as it can, and asking only isLeader() right before each act.
const work = setInterval(() => {
  if (election.isLeader()) note('act');
}, 5);
shutdown.onStop('client', () => client.close());
shutdown.onStop('election', () => election.stop());
shutdown.onStop('work', () => clearInterval(work));
stopOnSignals(shutdown);
election.start();
note('up');
await shutdown.done;
