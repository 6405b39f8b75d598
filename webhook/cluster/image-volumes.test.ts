// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { judgeImageVolumes } from './image-volumes.ts';
import type { RuntimeNode } from './image-volumes.ts';
import { parseRuntime, parseServerVersion, parseVersion } from './versions.ts';

const aNode = (name: string, runtime: string, kubeletVersion = 'v1.36.3'): RuntimeNode => ({
  metadata: { name },
  runtime,
  kubeletVersion,
});
const good = aNode('a', 'containerd://2.1.4');

describe('image volumes', () => {
  const cases: Record<string, [string | undefined, readonly RuntimeNode[], boolean, boolean, string]> = {
    'all of them can': ['1.36', [good, aNode('b', 'cri-o://1.35.1')], false, true, 'all 2 GPU nodes'],
    'the first release that has it on': [
      '1.35',
      [aNode('a', 'containerd://2.1.0', 'v1.35.0')],
      false,
      true,
      'API server is 1.35',
    ],
    'the release before': ['1.34', [good], false, false, 'need 1.35'],
    'the release before, and the gate is set by hand': ['1.34', [good], true, true, 'API server is 1.34'],
    'the first beta by hand': ['1.33', [aNode('a', 'containerd://2.2.1', 'v1.33.4')], true, true, '1.33'],
    'older than that even by hand': ['1.32', [good], true, false, 'need 1.33'],
    'a later major': ['2.0', [aNode('a', 'containerd://3.0.0', 'v2.0.0')], false, true, '2.0'],
    'an API server of an unknown version': [undefined, [good], false, false, 'not known'],
    'no GPU node yet': ['1.36', [], false, false, 'no GPU node yet'],
    'one kubelet is older than the API server': [
      '1.36',
      [good, aNode('old', 'containerd://2.1.4', 'v1.34.9')],
      false,
      false,
      'kubelet of node old is v1.34.9',
    ],
    'a kubelet that tells nothing': ['1.36', [aNode('a', 'containerd://2.1.4', '')], false, false, 'unknown version'],
    'one containerd is old': [
      '1.36',
      [good, aNode('old', 'containerd://1.7.27')],
      false,
      false,
      'node old has containerd://1.7.27, image volumes need containerd 2.1',
    ],
    'containerd 2.0': ['1.36', [aNode('a', 'containerd://2.0.5')], false, false, 'need containerd 2.1'],
    'a CRI-O that mounts noexec': ['1.36', [aNode('a', 'cri-o://1.34.2')], false, false, 'need cri-o 1.35'],
    'and no setting changes that': ['1.34', [aNode('a', 'cri-o://1.34.2')], true, false, 'need cri-o 1.35'],
    'a runtime that nobody knows': [
      '1.36',
      [aNode('a', 'docker://28.0.1')],
      false,
      false,
      'runtime docker://28.0.1 of node a',
    ],
    'a runtime named like a property': ['1.36', [aNode('a', 'constructor://9.9.9')], false, false, 'not known'],
    'a runtime that is not told': ['1.36', [aNode('a', '')], false, false, '(none told)'],
    'a vendor’s build': [
      '1.36',
      [aNode('a', 'containerd://2.1.4-k3s1', 'v1.36.3-gke.100')],
      false,
      true,
      '1 GPU nodes',
    ],
  };
  test.each(Object.entries(cases))('%s', (_name, [server, nodes, beta, supported, why]) => {
    const version = server === undefined ? undefined : parseVersion(server);
    expect(judgeImageVolumes(version, nodes, beta)).toEqual({ supported, why: expect.stringContaining(why) });
  });
});

describe('versions', () => {
  test.each([
    ['v1.35.2', { major: 1, minor: 35 }],
    ['1.36.0-rc.1+x', { major: 1, minor: 36 }],
    ['', undefined],
    ['latest', undefined],
  ])('%j', (text, want) => {
    expect(parseVersion(text)).toEqual(want);
  });

  test.each([
    ['containerd://2.1.4', { name: 'containerd', major: 2, minor: 1 }],
    ['cri-o://1.35.0-dev', { name: 'cri-o', major: 1, minor: 35 }],
    ['containerd://v2.2.0', { name: 'containerd', major: 2, minor: 2 }],
    ['containerd', undefined],
    ['containerd://unknown', undefined],
  ])('of runtime %j', (text, want) => {
    expect(parseRuntime(text)).toEqual(want);
  });

  test.each([
    ['as servers answer', { major: '1', minor: '36', gitVersion: 'v1.36.3' }, { major: 1, minor: 36 }],
    ['as providers do', { major: '1', minor: '35+' }, { major: 1, minor: 35 }],
    [
      'of a server that emulates',
      { major: '1', minor: '36', emulationMajor: '1', emulationMinor: '34' },
      { major: 1, minor: 34 },
    ],
    ['of something else', 'ok', undefined],
    ['without numbers', { major: '', minor: '' }, undefined],
  ])('%s', (_name, answer, want) => {
    expect(parseServerVersion(answer)).toEqual(want);
  });
});
