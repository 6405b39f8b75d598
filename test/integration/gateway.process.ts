// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '#base/clock.ts';
import type { DemandReply } from '#base/wire/demand.ts';
import { INTERNAL_AUDIENCE, OPERATOR_ISSUER, OPERATOR_SUBJECT } from '#base/wire/claims.ts';
import { createSigner, generateIssuerKey, publicJwks } from '#base/issuer.ts';
import type { Signer } from '#base/issuer.ts';
import { until } from '#test/until.ts';
import { startChild } from '#test/servers/child.ts';
import type { Child } from '#test/servers/child.ts';
import { freePort } from '#test/servers/free-port.ts';

const APP = `apiVersion: penstock.dev/v1alpha1
kind: InferenceApp
metadata:
  name: echo
spec:
  worker:
    archetype: Handler
    handler: echo.ts
`;

/** The gateway's own process with apps from files, on ports and in a folder that outlive it. */
export interface GatewayProcess {
  readonly url: string;
  readonly internal: string;
  readonly ops: string;
  readonly dir: string;
  readonly operator: Signer;
  /** As `operator`, or as the one whose keys it was given. */
  demand(as?: Signer): Promise<DemandReply>;
  /** Starts it and waits until it is ready. */
  start(): Promise<void>;
  /** Starts it and waits for its end: what it logged. */
  refusal(): Promise<string>;
  end(signal: NodeJS.Signals): Promise<void>;
  log(): string;
  readonly remove: () => Promise<void>;
}

export async function gatewayProcess(settings: Readonly<Record<string, string>> = {}): Promise<GatewayProcess> {
  const dir = mkdtempSync(join(tmpdir(), 'penstock-gateway-process-'));
  const [clientPort, internalPort, opsPort] = [await freePort(), await freePort(), await freePort()];
  const operatorKey = await generateIssuerKey();
  writeFileSync(join(dir, 'app.yaml'), APP);
  writeFileSync(join(dir, 'jwks.json'), JSON.stringify(publicJwks([operatorKey])));
  const env = {
    ...process.env,
    PENSTOCK_CLIENT_PORT: String(clientPort),
    PENSTOCK_INTERNAL_PORT: String(internalPort),
    PENSTOCK_OPS_PORT: String(opsPort),
    PENSTOCK_DATA: join(dir, 'data'),
    PENSTOCK_APPS: 'files',
    PENSTOCK_APPS_PATH: join(dir, 'app.yaml'),
    PENSTOCK_ISSUER: 'file',
    PENSTOCK_ISSUER_FILE: join(dir, 'jwks.json'),
    ...settings,
  };
  const ops = `http://127.0.0.1:${opsPort}`;
  let child: Child | undefined;
  const launch = async (): Promise<Child> => {
    const main = join(import.meta.dirname, '../../gateway/main.ts');
    child = await startChild({ command: process.execPath, args: [main], env, logFile: join(dir, 'log') });
    return child;
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => await child?.end(signal);
  const operator = await createSigner(operatorKey, systemClock);
  const internal = `http://127.0.0.1:${internalPort}`;
  return {
    url: `http://127.0.0.1:${clientPort}`,
    internal,
    ops,
    dir,
    operator,
    demand: async (as = operator) => {
      const claims = { iss: OPERATOR_ISSUER, aud: INTERNAL_AUDIENCE, sub: OPERATOR_SUBJECT };
      const authorization = `Bearer ${await as.sign(claims, 60)}`;
      return (await (
        await fetch(`${internal}/internal/v1/demand`, { headers: { authorization } })
      ).json()) as DemandReply;
    },
    start: async () => {
      const started = await launch();
      await until(async () => !started.running() || (await fetch(`${ops}/readyz`)).status === 200, {
        what: 'a ready gateway',
        timeoutMs: 60_000,
      });
      if (!started.running()) throw new Error(`the gateway has ended: ${started.log()}`);
    },
    refusal: async () => {
      const started = await launch();
      await until(() => !started.running(), { what: 'the end of the gateway', timeoutMs: 20_000 });
      return started.log();
    },
    end,
    log: () => child?.log() ?? '',
    remove: async () => {
      await end('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
