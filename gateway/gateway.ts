// SPDX-License-Identifier: Apache-2.0
import type { Server } from 'node:http';
import { closeServer, listen } from '#base/ops-server.ts';
import { noAudit } from './audit.ts';
import { createRevocations } from './auth/revocations.ts';
import { createSessions } from './auth/sessions.ts';
import type { Sessions } from './auth/sessions.ts';
import { startShareUpdates } from './auth/share-updates.ts';
import { createByteBudget } from './broker/byte-budget.ts';
import { createLeaseWaiters } from './broker/lease-waiters.ts';
import { createEnqueueBatcher } from './client/enqueue-batcher.ts';
import { deadLetterGauge } from './client/dead-letters/gauge.ts';
import type { ClientContext } from './client/context.ts';
import { createClientHandler } from './client/handler.ts';
import { openOverload } from './client/overload/open.ts';
import { createBodyChecks } from './client/schema/body-checks.ts';
import { createWaits } from './client/waits.ts';
import { createWakeStreams } from './control/wake-streams.ts';
import { createRequestIds } from './http/exchange.ts';
import type { RequestIds } from './http/exchange.ts';
import { createHttpServer } from './http/server.ts';
import type { RawAnswers } from './http/server.ts';
import type { ServeContext } from './http/serve.ts';
import { createInternalHandler } from './internal-handler.ts';
import { CLOSE_IDLE_MS, LARGE_BODIES_BYTES, STOP_LIMIT_MS } from './limits.ts';
import { createGatewayMetrics } from './metrics.ts';
import type { Gateway, GatewayDeps, GatewayOptions, GatewayPorts } from './options.ts';
import type { Durability, LeaseQueue } from './queue/lease-queue.ts';
import { createOrphanSweep } from './orphan-objects.ts';
import { createRateLimiter } from './ratelimit.ts';
import { createReadiness } from './readiness.ts';
import { createRecovery } from './recovery/recovery.ts';
import type { Recovery } from './recovery/recovery.ts';
import { startExpirySweep } from './sweeps.ts';
import type { Sweep } from './sweeps.ts';
import { createSweeper } from './store/sweeper.ts';
import { createTenantMetrics } from './tenant-metrics.ts';
import { createCursors } from './tickets/cursor.ts';
import { createTickets } from './tickets/ticket.ts';

export type { Gateway, GatewayDeps, GatewayOptions } from './options.ts';

/** The gateway: client API and worker broker on two ports, with the sweeps that every replica runs. */
export async function createGateway(deps: GatewayDeps, options: GatewayOptions): Promise<Gateway> {
  const parts = await assemble(deps, options);
  const { waits, waiters, streams, readiness, recovery, metrics } = parts;
  const clientServer = createHttpServer(parts.clientHandler, parts.rawAnswers('client'), options.timeouts);
  const internalServer = createHttpServer(parts.internalHandler, parts.rawAnswers('internal'), options.timeouts);
  const sweeper = createSweeper(deps);
  const orphans = createOrphanSweep({ ...deps, recovery });
  const sweeps: Sweep[] = [];
  let durability: Durability | undefined;

  const start = async (): Promise<GatewayPorts> => {
    checkExposure(deps, options);
    durability = await deps.queue.durability();
    metrics.durability(durability);
    const level = durability === 'fsync' ? 'info' : 'warn';
    deps.logger[level]({ durability }, DURABILITY_TEXT[durability]);
    // Before it is ready: who hears that it is finds its ports open.
    await recovery.start();
    await readiness.start();
    sweeps.push(recovery, startExpirySweep({ ...deps, metrics }), startShareUpdates(deps), sweeper, orphans);
    sweeper.start();
    orphans.start();
    const clientPort = await listen(clientServer, options.clientHost, options.clientPort);
    const internalPort = await listen(internalServer, options.internalHost, options.internalPort);
    deps.logger.info({ clientPort, internalPort }, 'gateway is serving');
    return { clientPort, internalPort };
  };

  const stop = async (): Promise<void> => {
    readiness.stop();
    await deps.clock.sleep(options.lameDuckMs ?? 0);
    waits.stop();
    waiters.stop();
    streams.stop();
    await Promise.all([closeWithin(clientServer, STOP_LIMIT_MS), closeWithin(internalServer, STOP_LIMIT_MS)]);
    await Promise.all(sweeps.splice(0).map((sweep) => sweep.stop()));
    await parts.checks.stop();
    parts.overload.stop();
    deps.logger.info({}, 'gateway has stopped');
  };

  return {
    clientHandler: parts.clientHandler,
    start,
    stop,
    notReady: readiness.notReady,
    readyNote: () => {
      const notes = [durability && DURABILITY_TEXT[durability], recovery.note(), deps.tenants.trouble?.()];
      return notes.filter((note) => note !== undefined).join('; ') || undefined;
    },
  };
}

const DURABILITY_TEXT: Readonly<Record<Durability, string>> = {
  fsync: 'an accepted request is on disk before its client hears of it',
  everysec: 'up to one second of accepted requests may be lost if the machine of the queue fails',
  none: 'accepted requests are lost if the queue’s process ends',
};

async function assemble(deps: GatewayDeps, options: GatewayOptions) {
  const { queue, apps, clock, random, logger, registry } = deps;
  const waits = createWaits(queue, clock, (by) => metrics.wokenFor('client', by));
  const recovery = createRecovery(deps);
  const waiters = createLeaseWaiters({ subscribe: withLifts(queue, recovery) }, apps);
  const streams = createWakeStreams(queue);
  const metrics = createGatewayMetrics(registry, { waitingClients: waits.count, waitingUnits: waiters.count });
  const readiness = createReadiness(deps);
  const sessions = await openSessions(deps);
  const revocations = createRevocations(queue, clock);
  const common = { ...deps, audit: deps.audit ?? noAudit, metrics };
  const accessLog = deps.accessLog ?? logger;
  const serving = (port: 'client' | 'internal'): ServeContext => ({ port, clock, metrics, logger, accessLog });
  const requestIds = createRequestIds(random);
  const rawAnswers = (port: 'client' | 'internal'): RawAnswers => ({ port, requestIds, accessLog });
  const client = openClient({ ...common, waits }, options, serving('client'), requestIds);
  const internalHandler = createInternalHandler({
    broker: {
      ...common,
      sessions,
      revocations,
      waiters,
      waits,
      recovery,
      leaseSeconds: options.leaseSeconds,
      largeBodies: createByteBudget(LARGE_BODIES_BYTES),
    },
    control: { ...common, sessions, revocations, streams },
    serving: serving('internal'),
    requestIds,
    objects: deps.objects,
  });
  return {
    rawAnswers,
    waits,
    waiters,
    streams,
    metrics,
    readiness,
    recovery,
    ...client,
    internalHandler,
  };
}

/** The client API with what only it needs. */
function openClient(
  common: GatewayDeps & Pick<ClientContext, 'audit' | 'metrics' | 'waits'>,
  options: GatewayOptions,
  serving: ServeContext,
  requestIds: RequestIds,
) {
  const { queue, clock, logger, registry, tenants, keys, metrics } = common;
  const tenantMetrics = createTenantMetrics(registry, tenants);
  tenants.onChange?.(tenantMetrics.renew);
  const refused = (tenant: string): void => tenantMetrics.submitted(tenant, 'rate-limited');
  const limiter = createRateLimiter({ clock, refused });
  deadLetterGauge(registry, common);
  const checks = createBodyChecks({ clock, logger, metrics });
  const overload = openOverload(common, options.overload);
  const clientHandler = createClientHandler({
    context: {
      ...common,
      checks,
      limiter,
      tenantMetrics,
      overload,
      tickets: createTickets(keys.ticketKey),
      cursors: createCursors(keys.ticketKey),
      enqueue: createEnqueueBatcher(queue, overload),
    },
    serving,
    requestIds,
    version: options.version,
    objects: common.objects,
  });
  return { clientHandler, checks, overload };
}

/** Units that were held back hear of it when they need wait no longer, as if work had come. */
function withLifts(queue: Pick<LeaseQueue, 'subscribe'>, recovery: Pick<Recovery, 'onLift'>): LeaseQueue['subscribe'] {
  return (listener) => {
    const forget = [queue.subscribe(listener), recovery.onLift((app) => listener({ type: 'ready', app }))];
    return () => forget.forEach((off) => off());
  };
}

async function openSessions({ keys, operatorJwks, clock, random }: GatewayDeps): Promise<Sessions> {
  const [first, ...rest] = keys.sessionKeys;
  if (first === undefined) throw new Error('the gateway needs a session key');
  return await createSessions({ sessionKeys: [first, ...rest], operatorJwks, clock, random });
}

/** DESIGN §3.5: without a tenants document anyone who reaches the port is the default tenant, so only this machine may reach it. */
function checkExposure({ tenants }: GatewayDeps, { clientHost }: GatewayOptions): void {
  if (tenants.anonymous() === undefined || isLoopback(clientHost)) return;
  throw new Error(
    `refusing to listen on ${clientHost} without API keys: add a key to tenants.yaml, take ServiceAccount tokens (tokenReview), or listen on 127.0.0.1`,
  );
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.[0-9]{1,3}){3}$/.test(host);
}

async function closeWithin(server: Server, ms: number): Promise<void> {
  if (!server.listening) return;
  const timer = setTimeout(() => server.closeAllConnections(), ms);
  // Node keeps a connection whose last answer goes out after close() until its keep-alive is over.
  const idle = setInterval(() => server.closeIdleConnections(), CLOSE_IDLE_MS);
  try {
    await closeServer(server);
  } finally {
    clearTimeout(timer);
    clearInterval(idle);
  }
}
