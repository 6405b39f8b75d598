// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { RESOURCES } from '#crds/names.ts';
import type { KubeAddress } from '#test/servers/apiserver.ts';
import type { Doc, KindName } from './case.ts';

/** What the API server says about a document: 2xx with the object as stored, or the paths that it objects to. */
export interface ServerVerdict {
  readonly status: number;
  readonly paths: readonly string[];
  readonly message: string;
  readonly body: Doc;
}

interface Answer {
  message?: string;
  details?: { causes?: { field?: string }[] };
}

/** Talks to one API server over a few kept connections. */
export class ServerJudge {
  private readonly kube: KubeAddress;
  private readonly agent: Agent;
  private readonly namespace: string;

  constructor(kube: KubeAddress, namespace: string) {
    this.kube = kube;
    this.namespace = namespace;
    this.agent = new Agent({
      keepAlive: true,
      maxSockets: 8,
      ca: readFileSync(kube.caFile),
      cert: readFileSync(kube.certFile),
      key: readFileSync(kube.keyFile),
    });
  }

  /** Strict create; a dry run unless the object is wanted. */
  create(kind: KindName, doc: unknown, { dryRun = true } = {}): Promise<ServerVerdict> {
    return this.send(
      'POST',
      `${this.path(kind)}?fieldValidation=Strict${dryRun ? '&dryRun=All' : ''}`,
      JSON.stringify(doc),
    );
  }

  /** Strict dry run of a create with a body as it stands. */
  createText(kind: KindName, text: string): Promise<ServerVerdict> {
    return this.send('POST', `${this.path(kind)}?fieldValidation=Strict&dryRun=All`, text);
  }

  /** Strict dry run of a replacement. */
  update(kind: KindName, name: string, doc: unknown): Promise<ServerVerdict> {
    return this.send('PUT', `${this.path(kind)}/${name}?fieldValidation=Strict&dryRun=All`, JSON.stringify(doc));
  }

  get(path: string): Promise<ServerVerdict> {
    return this.send('GET', path);
  }

  delete(kind: KindName, name: string): Promise<ServerVerdict> {
    return this.send('DELETE', `${this.path(kind)}/${name}`);
  }

  path(kind: KindName): string {
    const { plural, namespaced } = kind === 'InferenceApp' ? RESOURCES.inferenceApp : RESOURCES.placement;
    return `/apis/penstock.dev/v1alpha1/${namespaced ? `namespaces/${this.namespace}/` : ''}${plural}`;
  }

  close(): void {
    this.agent.destroy();
  }

  private send(method: string, path: string, text = ''): Promise<ServerVerdict> {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    return new Promise((resolve, reject) => {
      const call = request(this.kube.server + path, { method, headers, agent: this.agent }, (answer) => {
        const parts: Buffer[] = [];
        answer.on('data', (part: Buffer) => parts.push(part));
        answer.on('error', reject);
        answer.on('end', () => resolve(verdict(answer.statusCode ?? 0, Buffer.concat(parts).toString())));
      });
      call.on('error', reject);
      call.end(text);
    });
  }
}

function verdict(status: number, text: string): ServerVerdict {
  const body = JSON.parse(text) as Doc & Answer;
  const message = typeof body.message === 'string' ? body.message : '';
  const causes = (body.details?.causes ?? []).map(({ field }) => (field ?? '').replace(/^\./, ''));
  // Strict decoding names its paths in the message only.
  const strict = [...message.matchAll(/(?:unknown|duplicate) field "([^"]+)"/g)].map((match) => match[1] ?? '');
  return { status, paths: [...causes, ...strict], message, body };
}
