// SPDX-License-Identifier: Apache-2.0
import type { PlacementMatchExpression, PlacementSharing, PlacementToleration } from './placement.gen.ts';
import { twin } from './rules.ts';
import type { Twin } from './rules.ts';
import type { PLACEMENT_RULES } from './shapes.gen.ts';

const toleration = twin<PlacementToleration>;
const requirement = twin<PlacementMatchExpression>;
const sharing = twin<PlacementSharing>;

const LABEL_NAME = /^([a-z0-9]([-.a-z0-9]*[a-z0-9])?\/)?[a-zA-Z0-9]([-._a-zA-Z0-9]*[a-zA-Z0-9])?$/;
const INTEGER = /^[0-9]{1,18}$/;

/** One twin per CEL rule of the manifest, keyed by its text: a rule without a twin does not compile. */
export const PLACEMENT_TWINS: Readonly<Record<(typeof PLACEMENT_RULES)[number]['rule'], Twin>> = {
  "self.all(k, k.matches('^([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?[a-zA-Z0-9]([-._a-zA-Z0-9]*[a-zA-Z0-9])?$'))": twin<
    Record<string, string>
  >((self) => Object.keys(self).every((key) => LABEL_NAME.test(key))),
  "has(self.key) || self.operator == 'Exists'": toleration(
    (self) => self.key !== undefined || self.operator === 'Exists',
  ),
  "self.operator != 'Exists' || !has(self.value)": toleration(
    (self) => self.operator !== 'Exists' || self.value === undefined,
  ),
  "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')": toleration(
    (self) => self.tolerationSeconds === undefined || self.effect === 'NoExecute',
  ),
  "!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)": requirement(
    (self) => !['In', 'NotIn'].includes(self.operator) || (self.values ?? []).length > 0,
  ),
  "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || self.values.size() == 0": requirement(
    (self) => !['Exists', 'DoesNotExist'].includes(self.operator) || (self.values ?? []).length === 0,
  ),
  "!(self.operator in ['Gt', 'Lt']) || (has(self.values) && self.values.size() == 1 && self.values[0].matches('^[0-9]{1,18}$'))":
    requirement((self) => {
      if (!['Gt', 'Lt'].includes(self.operator)) return true;
      const [first, ...more] = self.values ?? [];
      return first !== undefined && more.length === 0 && INTEGER.test(first);
    }),
  "self.mode != 'Exclusive' || !has(self.resourceName)": sharing(
    (self) => self.mode !== 'Exclusive' || self.resourceName === undefined,
  ),
  "self.mode != 'Exclusive' || !has(self.slotsPerGPU)": sharing(
    (self) => self.mode !== 'Exclusive' || self.slotsPerGPU === undefined,
  ),
  "self.mode != 'Exclusive' || !has(self.memoryPerSlot)": sharing(
    (self) => self.mode !== 'Exclusive' || self.memoryPerSlot === undefined,
  ),
};
