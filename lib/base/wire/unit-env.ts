// SPDX-License-Identifier: Apache-2.0
/**
 * Names of the environment variables by which whoever starts a unit (the operator's Job, the local process driver) configures the
 * worker runtime. `worker-runtime/config.ts` holds meaning, defaults and limits; a test there keeps the two lists equal.
 */
export const UNIT_ENV = {
  brokerUrl: 'PENSTOCK_BROKER_URL',
  unitTokenFile: 'PENSTOCK_UNIT_TOKEN_FILE',
  archetype: 'PENSTOCK_ARCHETYPE',
  handler: 'PENSTOCK_HANDLER',
  python: 'PENSTOCK_PYTHON',
  instances: 'PENSTOCK_INSTANCES',
  concurrency: 'PENSTOCK_CONCURRENCY',
  batchSize: 'PENSTOCK_BATCH_SIZE',
  maxJobs: 'PENSTOCK_MAX_JOBS',
  leaseWaitSeconds: 'PENSTOCK_LEASE_WAIT_SECONDS',
  graceSeconds: 'PENSTOCK_GRACE_SECONDS',
  brokerLostSeconds: 'PENSTOCK_BROKER_LOST_SECONDS',
  readyFile: 'PENSTOCK_READY_FILE',
  readyTimeoutSeconds: 'PENSTOCK_READY_TIMEOUT_SECONDS',
  serverHost: 'PENSTOCK_SERVER_HOST',
  serverPort: 'PENSTOCK_SERVER_PORT',
  serverPath: 'PENSTOCK_SERVER_PATH',
  serverMethod: 'PENSTOCK_SERVER_METHOD',
  serverContentType: 'PENSTOCK_SERVER_CONTENT_TYPE',
  serverHealthPath: 'PENSTOCK_SERVER_HEALTH_PATH',
  command: 'PENSTOCK_COMMAND',
  parentPipe: 'PENSTOCK_PARENT_PIPE',
  opsHost: 'PENSTOCK_OPS_HOST',
  opsPort: 'PENSTOCK_OPS_PORT',
  logLevel: 'PENSTOCK_LOG_LEVEL',
} as const;

/** Exit codes of a unit's process. Only 0 means that it left of its own accord. */
export const UNIT_EXIT = {
  /** Told to leave, SIGTERM, maxJobs reached, or its token was refused. */
  left: 0,
  /** The handler or the model server died or says that it is not healthy, or the gateway could not be reached for too long. */
  crashed: 1,
  /** The settings are wrong; starting it again can't help. */
  misconfigured: 2,
  /** The handler did not load, or the model server was not ready in time. */
  notReady: 3,
} as const;

/** Folder of the unit's own files in a pod (an emptyDir; the root file system is read-only). */
export const UNIT_RUN_DIR = '/tmp/penstock';
/** Where a pod's unit marks that it is ready to lease. */
export const UNIT_READY_FILE = `${UNIT_RUN_DIR}/ready`;
/** Where a pod's unit finds its token: key `token` of the unit's Secret. */
export const UNIT_TOKEN_FILE = '/var/run/penstock/token';
/** Ops port (/healthz, /readyz, /metrics) of a unit in a pod. */
export const UNIT_OPS_PORT = 9464;
