// SPDX-License-Identifier: Apache-2.0
// The kubelet's device plugin API, v1beta1: numbers and names of what goes over its two sockets, as far as a plugin without topology needs it.
import type { ServiceDefinition } from '@grpc/grpc-js';
import protobuf from 'protobufjs/light.js';

export const API_VERSION = 'v1beta1';

export interface RegisterRequest {
  readonly version: string;
  /** File name of the plugin's socket, beside the kubelet's. */
  readonly endpoint: string;
  readonly resourceName: string;
}

export interface Device {
  readonly ID: string;
  readonly health: 'Healthy' | 'Unhealthy';
}

export interface AllocateRequest {
  readonly containerRequests: readonly { readonly devicesIDs: readonly string[] }[];
}

/** What the kubelet adds to a container that got devices. */
export interface ContainerGrant {
  readonly envs: Readonly<Record<string, string>>;
  readonly mounts: readonly { readonly containerPath: string; readonly hostPath: string; readonly readOnly: boolean }[];
}

type Field = readonly [type: string, id: number, rule?: 'repeated'];

const messages: Readonly<Record<string, Readonly<Record<string, Field>>>> = {
  Empty: {},
  DevicePluginOptions: { preStartRequired: ['bool', 1], getPreferredAllocationAvailable: ['bool', 2] },
  RegisterRequest: {
    version: ['string', 1],
    endpoint: ['string', 2],
    resourceName: ['string', 3],
    options: ['DevicePluginOptions', 4],
  },
  Device: { ID: ['string', 1], health: ['string', 2] },
  ListAndWatchResponse: { devices: ['Device', 1, 'repeated'] },
  ContainerAllocateRequest: { devicesIDs: ['string', 1, 'repeated'] },
  AllocateRequest: { containerRequests: ['ContainerAllocateRequest', 1, 'repeated'] },
  // A map is an entry of key and value, repeated.
  Variable: { key: ['string', 1], value: ['string', 2] },
  Mount: { containerPath: ['string', 1], hostPath: ['string', 2], readOnly: ['bool', 3] },
  ContainerAllocateResponse: { envs: ['Variable', 1, 'repeated'], mounts: ['Mount', 2, 'repeated'] },
  AllocateResponse: { containerResponses: ['ContainerAllocateResponse', 1, 'repeated'] },
};

const root = protobuf.Root.fromJSON({
  nested: {
    [API_VERSION]: { nested: Object.fromEntries(Object.entries(messages).map(([name, of]) => [name, message(of)])) },
  },
});

function message(fields: Readonly<Record<string, Field>>): protobuf.IType {
  const named = Object.entries(fields).map(([name, [type, id, rule]]) => [name, { type, id, ...(rule && { rule }) }]);
  return { fields: Object.fromEntries(named) as Record<string, protobuf.IField> };
}

function encode(name: string): (value: object) => Buffer {
  const type = root.lookupType(`${API_VERSION}.${name}`);
  return (value) => Buffer.from(type.encode(type.fromObject(value)).finish());
}

function decode(name: string): (bytes: Buffer) => object {
  const type = root.lookupType(`${API_VERSION}.${name}`);
  return (bytes) => type.toObject(type.decode(bytes), { defaults: true, arrays: true });
}

function method(service: string, name: string, request: string, response: string, responseStream = false) {
  return {
    path: `/${API_VERSION}.${service}/${name}`,
    requestStream: false,
    responseStream,
    requestSerialize: encode(request),
    requestDeserialize: decode(request),
    responseSerialize: encode(response),
    responseDeserialize: decode(response),
  } as const;
}

/** On the kubelet's socket. */
export const REGISTER = method('Registration', 'Register', 'RegisterRequest', 'Empty');

/** On the plugin's. */
export const DEVICE_PLUGIN = {
  getDevicePluginOptions: method('DevicePlugin', 'GetDevicePluginOptions', 'Empty', 'DevicePluginOptions'),
  listAndWatch: method('DevicePlugin', 'ListAndWatch', 'Empty', 'ListAndWatchResponse', true),
  allocate: method('DevicePlugin', 'Allocate', 'AllocateRequest', 'AllocateResponse'),
} satisfies ServiceDefinition;

/** `ContainerGrant`s as the message has them. */
export function allocateResponse(grants: readonly ContainerGrant[]): object {
  const variables = (envs: ContainerGrant['envs']): object[] =>
    Object.entries(envs).map(([key, value]) => ({ key, value }));
  return { containerResponses: grants.map(({ envs, mounts }) => ({ envs: variables(envs), mounts })) };
}
