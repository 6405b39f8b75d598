// SPDX-License-Identifier: Apache-2.0
// One extended resource on the kubelet's device plugin socket.
import { join } from 'node:path';
import { rmSync } from 'node:fs';
import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  status,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import {
  allocateResponse,
  API_VERSION,
  DEVICE_PLUGIN,
  REGISTER,
  type AllocateRequest,
  type ContainerGrant,
  type Device,
  type RegisterRequest,
} from './wire.ts';

/** The kubelet answers a registration at once; it is up, or it is not. */
const REGISTER_MS = 10_000;

export interface Offer {
  /** Extended resource, for example `nvidia.com/gpu.shared`. */
  readonly resource: string;
  /** As the kubelet's checkpoint and its pod-resources API name them. */
  readonly devices: readonly string[];
  /** What a container gets that was given these devices; throws to refuse, and the pod then fails its admission on the node. */
  readonly grant: (devices: readonly string[]) => ContainerGrant;
}

export interface RunningPlugin {
  readonly resource: string;
  stop(): void;
}

/** Resolves when the kubelet has taken the registration. `folder`: where `kubelet.sock` lies. */
export async function servePlugin(folder: string, offer: Offer): Promise<RunningPlugin> {
  const endpoint = `penstock-test-${offer.resource.replaceAll('/', '-')}.sock`;
  const socket = join(folder, endpoint);
  rmSync(socket, { force: true }); // of a plugin that was killed
  const server = new Server();
  const watching = new Set<ServerWritableStream<object, object>>();
  server.addService(DEVICE_PLUGIN, handlers(offer, watching));
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  await register(join(folder, 'kubelet.sock'), { version: API_VERSION, endpoint, resourceName: offer.resource });
  return {
    resource: offer.resource,
    stop: () => {
      for (const call of watching) call.end();
      server.forceShutdown();
      rmSync(socket, { force: true });
    },
  };
}

function handlers(offer: Offer, watching: Set<ServerWritableStream<object, object>>) {
  const options: handleUnaryCall<object, object> = (_, reply) => reply(null, {});
  // Open for as long as the plugin lives: its end tells the kubelet that the devices are gone.
  const list: handleServerStreamingCall<object, object> = (call) => {
    const devices: Device[] = offer.devices.map((ID) => ({ ID, health: 'Healthy' }));
    watching.add(call);
    call.once('cancelled', () => watching.delete(call));
    call.write({ devices });
  };
  const allocate: handleUnaryCall<object, object> = ({ request }, reply) => {
    try {
      const { containerRequests } = request as AllocateRequest;
      const grants = containerRequests.map(({ devicesIDs }) => offer.grant(devicesIDs));
      reply(null, allocateResponse(grants));
    } catch (error) {
      reply({ code: status.INVALID_ARGUMENT, details: error instanceof Error ? error.message : String(error) });
    }
  };
  return { getDevicePluginOptions: options, listAndWatch: list, allocate };
}

async function register(kubelet: string, request: RegisterRequest): Promise<void> {
  const client = new Client(`unix:${kubelet}`, credentials.createInsecure());
  const { path, requestSerialize, responseDeserialize } = REGISTER;
  try {
    await new Promise<void>((resolve, reject) => {
      const options = { deadline: Date.now() + REGISTER_MS };
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, (error) =>
        error === null ? resolve() : reject(error),
      );
    });
  } finally {
    client.close();
  }
}
