// SPDX-License-Identifier: Apache-2.0
import type { StatementSync } from 'node:sqlite';
import type { TenantShare } from '../lease-queue.ts';
import type { Statements } from './statements.ts';
import { newTenant, setShare } from './tenants.ts';
import type { LaneTag, Tenant } from './tenants.ts';

/** Tables of tenants and estimates. */
export class FairStore {
  readonly #statements: Statements;

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  tenants(): { readonly app: string; readonly tenant: Tenant }[] {
    return this.#sql('SELECT app, name, share, tags FROM tenant')
      .all()
      .map((row) => {
        const tenant = newTenant(String(row['name']));
        setShare(tenant, JSON.parse(String(row['share'])) as TenantShare);
        const tags = JSON.parse(String(row['tags'])) as Record<'online' | 'batch', LaneTag>;
        Object.assign(tenant.tags.online, tags.online);
        Object.assign(tenant.tags.batch, tags.batch);
        return { app: String(row['app']), tenant };
      });
  }

  saveTenant(app: string, { name, weight, maxInFlight, maxQueued, tags }: Tenant): void {
    const share: TenantShare = {
      weight,
      ...(maxInFlight === Infinity ? {} : { maxInFlight }),
      ...(maxQueued === Infinity ? {} : { maxQueued }),
    };
    this.#sql('INSERT OR REPLACE INTO tenant (app, name, share, tags) VALUES (?, ?, ?, ?)').run(
      app,
      name,
      JSON.stringify(share),
      JSON.stringify(tags),
    );
  }

  deleteTenant(app: string, name: string): void {
    this.#sql('DELETE FROM tenant WHERE app = ? AND name = ?').run(app, name);
  }

  estimates(): { readonly app: string; readonly revision: string; readonly size: number; readonly micros: number }[] {
    return this.#sql('SELECT app, revision, size, micros FROM estimate')
      .all()
      .map((row) => ({
        app: String(row['app']),
        revision: String(row['revision']),
        size: Number(row['size']),
        micros: Number(row['micros']),
      }));
  }

  saveEstimate(app: string, revision: string, size: number, micros: number): void {
    this.#sql('INSERT OR REPLACE INTO estimate (app, revision, size, micros) VALUES (?, ?, ?, ?)').run(
      app,
      revision,
      size,
      micros,
    );
  }

  /** Of one revision, or of all. */
  deleteEstimates(app: string, revision?: string): void {
    if (revision === undefined) this.#sql('DELETE FROM estimate WHERE app = ?').run(app);
    else this.#sql('DELETE FROM estimate WHERE app = ? AND revision = ?').run(app, revision);
  }

  #sql(text: string): StatementSync {
    return this.#statements.of(text);
  }
}
