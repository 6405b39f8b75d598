// SPDX-License-Identifier: Apache-2.0
import { isObject } from '#base/json.ts';
import { KubeError, NO_ANSWER, errorFromStatus } from './errors.ts';
import { readLines } from './lines.ts';
import { apiVersionOf, resourcePath } from './resource.ts';
import type { PathParts, Resource } from './resource.ts';
import type { Call, CallOptions, Transport } from './transport.ts';
import type { KubeObject, ObjectRef, Page, WatchFrame } from './types.ts';

export interface ListOptions extends CallOptions {
  /** Absent: all namespaces. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly limit?: number | undefined;
  readonly continueToken?: string | undefined;
}

export interface WatchOptions extends Omit<ListOptions, 'limit' | 'continueToken' | 'deadlineMs' | 'urgent'> {
  readonly resourceVersion: string;
  /** The server ends the watch in order after this time. */
  readonly timeoutSeconds: number;
  readonly signal: AbortSignal;
}

export interface WriteOptions extends CallOptions {
  readonly fieldManager?: string | undefined;
  readonly subresource?: string | undefined;
  readonly dryRun?: boolean | undefined;
}

export interface ApplyOptions extends WriteOptions {
  readonly fieldManager: string;
  /** Take fields over from other managers (default true: a controller owns what it applies). */
  readonly force?: boolean | undefined;
}

export interface PatchOptions extends WriteOptions {
  readonly type: 'merge' | 'json';
}

export interface DeleteOptions extends CallOptions {
  /** The object is deleted only if it still is this one; else 409. */
  readonly preconditions?:
    | { readonly uid?: string | undefined; readonly resourceVersion?: string | undefined }
    | undefined;
  readonly propagationPolicy?: 'Background' | 'Foreground' | 'Orphan' | undefined;
  readonly gracePeriodSeconds?: number | undefined;
}

/** Verbs on any resource. Objects are the API server's JSON as it is; all errors are {@link KubeError}. */
export interface KubeClient {
  get<T extends KubeObject>(resource: Resource, ref: ObjectRef, options?: CallOptions): Promise<T>;
  /** One page; items carry apiVersion and kind, which the server leaves out in lists. */
  list<T extends KubeObject>(resource: Resource, options?: ListOptions): Promise<Page<T>>;
  create<T extends KubeObject>(resource: Resource, object: T, options?: WriteOptions): Promise<T>;
  /** PUT; refused with 409 when `metadata.resourceVersion` is no longer the current one. */
  replace<T extends KubeObject>(resource: Resource, object: T, options?: WriteOptions): Promise<T>;
  /** Server-side apply: exactly these fields are ours from now on, those we owned and no longer name are removed. */
  apply<T extends KubeObject>(resource: Resource, object: KubeObject, options: ApplyOptions): Promise<T>;
  applyStatus<T extends KubeObject>(resource: Resource, object: KubeObject, options: ApplyOptions): Promise<T>;
  patch<T extends KubeObject>(resource: Resource, ref: ObjectRef, patch: unknown, options: PatchOptions): Promise<T>;
  /** Asks for deletion; finalizers may keep the object for longer. */
  delete(resource: Resource, ref: ObjectRef, options?: DeleteOptions): Promise<void>;
  /** Frames until the server or `signal` ends the stream; an ERROR frame is thrown as KubeError. */
  watch<T extends KubeObject>(resource: Resource, options: WatchOptions): AsyncIterable<WatchFrame<T>>;
  /** Anything else (discovery, reviews, `/scale`). */
  call(call: Call): Promise<unknown>;
  close(): Promise<void>;
}

const PATCH_TYPES = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  // JSON is YAML; kube-apiserver has no JSON media type for apply before CBOR.
  apply: 'application/apply-patch+yaml',
} as const;

export function createKubeClient(transport: Transport): KubeClient {
  const write = async <T extends KubeObject>(
    method: Call['method'],
    path: string,
    body: unknown,
    options: WriteOptions & { query?: Call['query']; contentType?: string } = {},
  ): Promise<T> => {
    const query = { fieldManager: options.fieldManager, dryRun: options.dryRun ? 'All' : undefined, ...options.query };
    return asObject(
      path,
      await transport.call({ ...callOptions(options), method, path, query, body, contentType: options.contentType }),
    ) as T;
  };
  const apply = <T extends KubeObject>(resource: Resource, object: KubeObject, options: ApplyOptions): Promise<T> => {
    const body = { ...object, apiVersion: apiVersionOf(resource), kind: resource.kind };
    const query = { force: options.force ?? true };
    return write<T>('PATCH', pathOf(resource, object.metadata, options), body, {
      ...options,
      query,
      contentType: PATCH_TYPES.apply,
    });
  };
  return {
    get: async <T extends KubeObject>(resource: Resource, ref: ObjectRef, options: CallOptions = {}) => {
      const path = resourcePath(resource, ref);
      return asObject(path, await transport.call({ ...callOptions(options), method: 'GET', path })) as T;
    },
    list: async <T extends KubeObject>(resource: Resource, options: ListOptions = {}) => {
      const path = resourcePath(resource, { namespace: options.namespace });
      return asPage<T>(
        resource,
        await transport.call({ ...callOptions(options), method: 'GET', path, query: listQuery(options) }),
      );
    },
    create: (resource, object, options) =>
      write(
        'POST',
        resourcePath(resource, { namespace: object.metadata.namespace }),
        withKind(resource, object),
        options,
      ),
    replace: (resource, object, options = {}) =>
      write('PUT', pathOf(resource, object.metadata, options), withKind(resource, object), options),
    apply,
    applyStatus: (resource, object, options) => apply(resource, object, { ...options, subresource: 'status' }),
    patch: (resource, ref, patch, options) =>
      write('PATCH', pathOf(resource, ref, options), patch, { ...options, contentType: PATCH_TYPES[options.type] }),
    delete: async (resource, ref, options = {}) => {
      const { preconditions, propagationPolicy, gracePeriodSeconds } = options;
      const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions, propagationPolicy, gracePeriodSeconds };
      await transport.call({ ...callOptions(options), method: 'DELETE', path: resourcePath(resource, ref), body });
    },
    watch: <T extends KubeObject>(resource: Resource, options: WatchOptions) =>
      watchFrames<T>(transport, resource, options),
    call: (call) => transport.call(call),
    close: () => transport.close(),
  };
}

async function* watchFrames<T extends KubeObject>(
  transport: Transport,
  resource: Resource,
  options: WatchOptions,
): AsyncGenerator<WatchFrame<T>> {
  const path = resourcePath(resource, { namespace: options.namespace });
  const query = {
    ...listQuery(options),
    watch: true,
    allowWatchBookmarks: true,
    resourceVersion: options.resourceVersion,
    timeoutSeconds: options.timeoutSeconds,
  };
  const stream = await transport.stream({ method: 'GET', path, query }, options.signal);
  const what = `WATCH ${path}`;
  try {
    for await (const line of readLines(stream)) yield asFrame<T>(what, line);
  } catch (err) {
    if (options.signal.aborted) throw options.signal.reason;
    if (err instanceof KubeError) throw err;
    throw new KubeError(`${what}: the stream broke`, { status: 0, reason: NO_ANSWER.connection, cause: err });
  }
}

function asFrame<T extends KubeObject>(what: string, line: string): WatchFrame<T> {
  let frame: unknown;
  try {
    frame = JSON.parse(line);
  } catch (cause) {
    throw new KubeError(`${what}: a frame is no JSON`, { status: 0, reason: NO_ANSWER.malformed, cause });
  }
  const { type, object } = isObject(frame) ? frame : {};
  if (!isObject(object))
    throw new KubeError(`${what}: a frame without object`, { status: 0, reason: NO_ANSWER.malformed });
  if (type === 'ADDED' || type === 'MODIFIED' || type === 'DELETED' || type === 'BOOKMARK') {
    return { type, object: asObject(what, object) as T };
  }
  throw errorFromStatus(what, object, 500);
}

function asPage<T extends KubeObject>(resource: Resource, answer: unknown): Page<T> {
  const { metadata, items } = isObject(answer) ? answer : {};
  if (!isObject(metadata) || !Array.isArray(items)) {
    throw new KubeError(`list ${resource.plural}: the answer is no list`, { status: 0, reason: NO_ANSWER.malformed });
  }
  const page = {
    items: items.map((item: unknown) => withKind(resource, asObject(resource.plural, item) as T)),
    resourceVersion: typeof metadata['resourceVersion'] === 'string' ? metadata['resourceVersion'] : '',
  };
  const token = metadata['continue'];
  return typeof token === 'string' && token !== '' ? { ...page, continueToken: token } : page;
}

function asObject(what: string, value: unknown): KubeObject {
  if (isObject(value) && isObject(value['metadata'])) return value as unknown as KubeObject;
  throw new KubeError(`${what}: the answer is no object with metadata`, { status: 0, reason: NO_ANSWER.malformed });
}

function withKind<T extends KubeObject>(resource: Resource, object: T): T {
  return { ...object, apiVersion: apiVersionOf(resource), kind: resource.kind };
}

function pathOf(resource: Resource, ref: ObjectRef, options: Pick<PathParts, 'subresource'>): string {
  return resourcePath(resource, { namespace: ref.namespace, name: ref.name, subresource: options.subresource });
}

function listQuery(options: ListOptions): NonNullable<Call['query']> {
  const { labelSelector, fieldSelector, limit, continueToken } = options;
  return { labelSelector, fieldSelector, limit, continue: continueToken };
}

/** Only what belongs to the call itself, so that options for the verb do not leak into it. */
function callOptions({ signal, deadlineMs, urgent }: CallOptions): CallOptions {
  return { signal, deadlineMs, urgent };
}
