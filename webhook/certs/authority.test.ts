// SPDX-License-Identifier: Apache-2.0
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { mintAuthority, mintLeaf } from './authority.ts';
import { BACKDATE_MS } from './minted.ts';

const NOW = Math.floor(Date.now() / 1000) * 1000;
const HOUR_MS = 3_600_000;
const NAMES = ['penstock-webhook', 'penstock-webhook.penstock-system.svc'];

describe('minted certificates', () => {
  it('are accepted in a TLS handshake for their names, and for no other', async () => {
    const authority = await mintAuthority(NOW, 10 * HOUR_MS);
    const leaf = await mintLeaf(authority, NAMES, NOW, HOUR_MS);
    const server = createServer({ key: leaf.key, cert: leaf.certificate.toString() }, (socket) => socket.end('hello'));
    server.on('tlsClientError', () => {});
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const said = async (servername: string): Promise<string> => {
      const socket = connect({ host: '127.0.0.1', port, servername, ca: authority.certificate.toString() });
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      socket.destroy();
      return chunk.toString();
    };
    try {
      expect(await said(NAMES[1]!)).toBe('hello');
      await expect(said('other.penstock-system.svc')).rejects.toThrow('altnames');
    } finally {
      server.close();
    }
  });

  it('have the lives asked for, begin an hour early, and never outlive their CA', async () => {
    const authority = await mintAuthority(NOW, 2 * HOUR_MS);
    const leaf = await mintLeaf(authority, NAMES, NOW + HOUR_MS, 5 * HOUR_MS);
    const times = [authority, leaf].map(({ certificate }) => [
      certificate.validFromDate.getTime(),
      certificate.validToDate.getTime(),
    ]);
    expect(times).toEqual([
      [NOW - BACKDATE_MS, NOW + 2 * HOUR_MS],
      [NOW + HOUR_MS - BACKDATE_MS, NOW + 2 * HOUR_MS],
    ]);
  });

  it('are P-256, each with a key and a serial number of its own', async () => {
    const authority = await mintAuthority(NOW, HOUR_MS);
    const leaves = await Promise.all([1, 2].map(() => mintLeaf(authority, NAMES, NOW, HOUR_MS)));
    const all = [authority, ...leaves];
    expect(all.map(({ key }) => createPrivateKey(key).asymmetricKeyDetails?.namedCurve)).toEqual(
      all.map(() => 'prime256v1'),
    );
    expect(new Set(all.map(({ certificate }) => certificate.serialNumber)).size).toBe(3);
    expect(new Set(all.map(({ key }) => key)).size).toBe(3);
  });

  it('can be signed by a CA read from text', async () => {
    const authority = await mintAuthority(NOW, HOUR_MS);
    const read = { certificate: new X509Certificate(authority.certificate.toString()), key: authority.key };
    const { certificate } = await mintLeaf(read, NAMES, NOW, HOUR_MS);
    expect(certificate.checkIssued(authority.certificate)).toBe(true);
    expect(certificate.verify(authority.certificate.publicKey)).toBe(true);
    expect([certificate.ca, authority.certificate.ca]).toEqual([false, true]);
  });
});
