// SPDX-License-Identifier: Apache-2.0
import { edit, PLACEMENT } from './case.ts';
import type { Doc, InvalidCase } from './case.ts';

const placement = (name: string, path: string, changes: Doc): InvalidCase => ({
  name,
  kind: 'Placement',
  doc: edit(PLACEMENT, changes),
  path,
});

const toleration = (name: string, member: string, value: Doc): InvalidCase =>
  placement(name, `spec.kubernetes.tolerations[0]${member}`, { 'spec.kubernetes.tolerations': [value] });

const REQUIRED = 'spec.kubernetes.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution';

const expression = (name: string, member: string, value: Doc): InvalidCase =>
  placement(name, `${REQUIRED}.nodeSelectorTerms[0].matchExpressions[0]${member}`, {
    [REQUIRED]: { nodeSelectorTerms: [{ matchExpressions: [value] }] },
  });

export const INVALID_PLACEMENTS: readonly InvalidCase[] = [
  placement('no place at all', 'spec.kubernetes', { 'spec.kubernetes': undefined }),
  placement('a place that is null', 'spec.kubernetes', { 'spec.kubernetes': null }),
  placement('a virtual machine, which a later version has', 'spec.vm', { 'spec.vm': {} }),
  placement('a remote cluster, which a later version has', 'spec.kubernetes.cluster', {
    'spec.kubernetes.cluster': 'burst-eu',
  }),
  placement('a map of namespaces, which a later version has', 'spec.kubernetes.namespaces', {
    'spec.kubernetes.namespaces': {},
  }),
  placement('a name with a dot', 'metadata.name', { 'metadata.name': 'gpu.spot' }),
  placement('a name of 41 characters', 'metadata.name', { 'metadata.name': 'p'.repeat(41) }),
  placement('one node selector instead of a list', 'spec.kubernetes.nodeSelectors.zone', {
    'spec.kubernetes.nodeSelectors': { zone: 'a' },
  }),
  placement('a node label with a space in its name', 'spec.kubernetes.nodeSelectors[1]', {
    'spec.kubernetes.nodeSelectors': [{ zone: 'a' }, { 'a zone': 'b' }],
  }),
  placement('a node label with a space in its value', 'spec.kubernetes.nodeSelectors[0].zone', {
    'spec.kubernetes.nodeSelectors': [{ zone: 'a b' }],
  }),
  placement('a node label that is a truth value', 'spec.kubernetes.nodeSelectors[0].spot', {
    'spec.kubernetes.nodeSelectors': [{ spot: true }],
  }),
  placement('null among node selectors', 'spec.kubernetes.nodeSelectors[0]', {
    'spec.kubernetes.nodeSelectors': [null],
  }),
  toleration('a toleration of any key that wants a value', '.operator', { operator: 'Equal', value: 'x' }),
  toleration('a toleration without a key, by default', '.operator', { effect: 'NoSchedule' }),
  toleration('a value for Exists', '.value', { key: 'a', operator: 'Exists', value: 'x' }),
  toleration('seconds without an effect', '.effect', { key: 'a', operator: 'Exists', tolerationSeconds: 1 }),
  toleration('seconds for NoSchedule', '.effect', {
    key: 'a',
    operator: 'Exists',
    effect: 'NoSchedule',
    tolerationSeconds: 1,
  }),
  toleration('an unknown effect', '.effect', { key: 'a', operator: 'Exists', effect: 'Never' }),
  placement('pod affinity, which is not offered', 'spec.kubernetes.affinity.podAffinity', {
    'spec.kubernetes.affinity': { podAffinity: {} },
  }),
  placement('no terms', `${REQUIRED}.nodeSelectorTerms`, { [REQUIRED]: { nodeSelectorTerms: [] } }),
  expression('In without values', '.values', { key: 'a', operator: 'In' }),
  expression('NotIn with no values', '.values', { key: 'a', operator: 'NotIn', values: [] }),
  expression('Exists with values', '.values', { key: 'a', operator: 'Exists', values: ['x'] }),
  expression('Gt with a word', '.values', { key: 'a', operator: 'Gt', values: ['x'] }),
  expression('Lt with two values', '.values', { key: 'a', operator: 'Lt', values: ['1', '2'] }),
  expression('an operator of its own', '.operator', { key: 'a', operator: 'Like', values: ['x'] }),
  expression('a requirement without a key', '.key', { operator: 'Exists' }),
  placement('sharing without a mode', 'spec.sharing.mode', { 'spec.sharing': { slotsPerGPU: 4 } }),
  placement('slots of GPUs that are not split', 'spec.sharing.slotsPerGPU', {
    'spec.sharing': { mode: 'Exclusive', slotsPerGPU: 4 },
  }),
  placement('a resource of GPUs that are not split', 'spec.sharing.resourceName', {
    'spec.sharing': { mode: 'Exclusive', resourceName: 'nvidia.com/gpu.shared' },
  }),
  placement('memory of slots where there are none', 'spec.sharing.memoryPerSlot', {
    'spec.sharing': { mode: 'Exclusive', memoryPerSlot: '10Gi' },
  }),
  placement('a resource without a domain', 'spec.sharing.resourceName', {
    'spec.sharing': { mode: 'MPS', resourceName: 'gpu' },
  }),
  placement('a namespace twice', 'spec.allowedNamespaces[1]', { 'spec.allowedNamespaces': ['a', 'a'] }),
  placement('a pattern of namespaces', 'spec.allowedNamespaces[0]', { 'spec.allowedNamespaces': ['team-*'] }),
  placement('costs as a number', 'spec.costPerHour', { 'spec.costPerHour': 2.49 }),
  placement('costs with a currency', 'spec.costPerHour', { 'spec.costPerHour': '$2.49' }),
  placement('costs below nothing', 'spec.costPerHour', { 'spec.costPerHour': '-1' }),
  placement('an unknown pricing', 'spec.pricing', { 'spec.pricing': 'Reserved' }),
];
