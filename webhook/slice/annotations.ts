// SPDX-License-Identifier: Apache-2.0
// What a pod says about its slices, read and checked. Of castops' keys each counts where ours does not say the same thing.
import { nearest } from '#crds/did-you-mean.ts';
import {
  ANNOTATIONS,
  CASTOPS_ANNOTATIONS,
  CONTAINER_ANNOTATIONS,
  GROUP,
  LABELS,
  SLICE_ANNOTATIONS,
} from '#crds/names.ts';
import { parseQuantity } from '#kube/quantity.ts';
import type { FieldCause } from '../admission/types.ts';
import type { WorkloadType } from './context.ts';

/** Slots into which NVIDIA's plugin splits a GPU are a small number; 64 is more than any card is shared by. */
const MAX_RATIO = 64;
/** Below a mebibyte no context comes up, and a value such as `10` is a forgotten unit. */
const MIN_VRAM = 2 ** 20;
const MAX_VRAM = 2 ** 50;
/** More causes than these are no help, and the answer stays small. */
const MAX_CAUSES = 16;
/** Also of warnings about keys that look like ours. */
const MAX_DOUBTS = 4;
/** Keys of our domain that are held against ours; a pod with more of them has them from elsewhere. */
const MAX_COMPARED = 64;
const SHOWN = 64;
const MAX_NAMED = 16;
/** No key that the API server takes is longer: 253 of a domain, 63 of a name. */
const MAX_KEY = 320;
/** Of a sentence, which names keys and containers: they come as their author wrote them. */
const MAX_TEXT = 1024;

export const WORKLOAD_TYPES: readonly WorkloadType[] = ['training', 'inference', 'batch', 'dev'];
const TYPES = WORKLOAD_TYPES.join(', ');

/** A size that was asked for, and the annotation that did. */
export type Sized =
  | { readonly kind: 'ratio'; readonly ratio: number; readonly from: string }
  | { readonly kind: 'vram'; readonly bytes: number; readonly from: string };

export interface Wish {
  /** Undefined: nothing said, the policy decides. */
  readonly slice?: boolean | undefined;
  /** Undefined: nothing said, the rule that enrols the pod decides. */
  readonly dryRun?: boolean | undefined;
  /** For every container that has no size of its own. */
  readonly size?: Sized | undefined;
  readonly sizes: ReadonlyMap<string, Sized>;
  readonly workloadType?: { readonly type: WorkloadType; readonly from: string } | undefined;
  readonly causes: readonly FieldCause[];
  /** Keys that are not ours and look it, for people. */
  readonly doubts: readonly string[];
}

type Annotations = Readonly<Record<string, string>>;

const NOTHING: Wish = { sizes: new Map(), causes: [], doubts: [] };
const OWN_PREFIX = `${GROUP}/`;
/** Nobody but us has such keys: another is a slip. */
const GUARDED = /^(?:slice|vram|workload)/i;
const KNOWN: readonly string[] = Object.values(SLICE_ANNOTATIONS);
/** Other keys of the domain, which users may copy from one place to another. */
const OTHERS: readonly string[] = [...Object.values(ANNOTATIONS), ...Object.values(LABELS)];
/** What people write for our keys. */
const ALIASES: ReadonlyMap<string, string> = new Map([
  ['ratio', SLICE_ANNOTATIONS.ratio],
  ['dry-run', SLICE_ANNOTATIONS.dryRun],
  ['memory', SLICE_ANNOTATIONS.vram],
  ...KNOWN.map((key): [string, string] => [key.slice(GROUP.length + 1), key]),
]);
const NEAR_MISSES = [...ALIASES.keys()];

/** Reads the annotations of a pod with containers of these names (init containers included). */
export function readWish(annotations: Annotations | undefined, containers: readonly string[]): Wish {
  if (annotations === undefined) return NOTHING;
  const reader = new Reader(annotations, containers);
  return reader.read();
}

class Reader {
  readonly #annotations: Annotations;
  readonly #containers: ReadonlySet<string>;
  readonly #doubts: string[] = [];
  #compared = 0;
  readonly #causes: FieldCause[] = [];
  readonly #sizes = new Map<string, Sized>();

  constructor(annotations: Annotations, containers: readonly string[]) {
    this.#annotations = annotations;
    this.#containers = new Set(containers);
  }

  read(): Wish {
    const castops = this.#castops();
    const own = this.#flag(SLICE_ANNOTATIONS.slice);
    // Whoever opts out is left in peace, whatever else is written there.
    if (own === false || (own === undefined && castops === false)) return { ...NOTHING, slice: false };
    const slice = own ?? castops;
    for (const key of Object.keys(this.#annotations)) {
      // One cause would do; each costs a comparison with all that is known.
      if (this.#causes.length >= MAX_CAUSES) break;
      this.#key(key);
    }
    const opted = slice === true;
    const { ratio, workloadType } = CASTOPS_ANNOTATIONS;
    const ratioKey = this.#meant(ratio, opted || this.#ratioOf(ratio) !== undefined, `1 to ${MAX_RATIO}`);
    const typeKey = this.#meant(workloadType, opted || this.#typeOf(workloadType) !== undefined, TYPES);
    if (slice === undefined) this.#meant(CASTOPS_ANNOTATIONS.slice, false, '"true", "false"');
    return {
      slice,
      dryRun: this.#flag(SLICE_ANNOTATIONS.dryRun),
      size: this.#size(SLICE_ANNOTATIONS.ratio, SLICE_ANNOTATIONS.vram, ratioKey),
      sizes: this.#sizes,
      workloadType:
        this.#type(SLICE_ANNOTATIONS.workloadType) ?? (typeKey === undefined ? undefined : this.#type(typeKey)),
      causes: this.#causes.slice(0, MAX_CAUSES),
      doubts: this.#doubts,
    };
  }

  /** What it means by other values is its own affair, and only warned about. */
  #castops(): boolean | undefined {
    const value = this.#annotations[CASTOPS_ANNOTATIONS.slice];
    return value === 'true' || value === 'false' ? value === 'true' : undefined;
  }

  /** The key of castops', where its value is acted on. Nobody is refused for another one: it may mean something to castops. */
  #meant(key: string, isUnderstood: boolean, known: string): string | undefined {
    const value = this.#annotations[key];
    if (isUnderstood || value === undefined) return key;
    this.#doubts.push(`${key} is ${quote(value)}, which counts for nothing here; understood: ${known}`);
    return undefined;
  }

  /** Sizes of single containers, and keys that look like ours and are not. */
  #key(key: string): void {
    if (key.startsWith(OWN_PREFIX)) {
      if (KNOWN.includes(key)) return;
      const name = key.slice(OWN_PREFIX.length);
      if (key.startsWith(`${SLICE_ANNOTATIONS.ratio}.`)) {
        this.#ofContainer(key, key.slice(SLICE_ANNOTATIONS.ratio.length + 1), 'ratio');
      } else if (key.startsWith(`${SLICE_ANNOTATIONS.vram}.`)) {
        this.#ofContainer(key, key.slice(SLICE_ANNOTATIONS.vram.length + 1), 'vram');
      } else if (!OTHERS.includes(key)) this.#foreign(key, name);
      return;
    }
    const slash = key.indexOf('/');
    if (slash < 0 || !key.startsWith(DOMAIN, slash - DOMAIN.length)) return;
    const container = key.slice(0, slash - DOMAIN.length);
    if (key === container + CONTAINER_ANNOTATIONS.ratio) this.#ofContainer(key, container, 'ratio');
    else if (key === container + CONTAINER_ANNOTATIONS.vram) this.#ofContainer(key, container, 'vram');
    else this.#unknown(key, [container + CONTAINER_ANNOTATIONS.ratio, container + CONTAINER_ANNOTATIONS.vram]);
  }

  #ofContainer(key: string, container: string, kind: Sized['kind']): void {
    if (!this.#containers.has(container)) {
      this.#refuse(key, 'FieldValueNotFound', `the pod has no container ${quote(container)}; it has ${this.#there()}`);
      return;
    }
    const sized = kind === 'ratio' ? this.#ratio(key) : this.#vram(key);
    if (sized === undefined) return;
    const other = this.#sizes.get(container);
    if (other === undefined) this.#sizes.set(container, sized);
    else if (!same(other, sized))
      this.#refuse(key, 'FieldValueForbidden', `contradicts ${other.from}; give one size for a container`);
  }

  #size(ratioKey: string, vramKey: string, castopsKey: string | undefined): Sized | undefined {
    const ratio = this.#ratio(ratioKey);
    const vram = this.#vram(vramKey);
    if (ratio !== undefined && vram !== undefined) {
      this.#refuse(
        vramKey,
        'FieldValueForbidden',
        `contradicts ${ratioKey}; give a ratio or an amount of memory, not both`,
      );
    }
    if (ratio !== undefined || vram !== undefined) return ratio ?? vram;
    return castopsKey === undefined ? undefined : this.#ratio(castopsKey);
  }

  #ratio(key: string): Sized | undefined {
    const value = this.#annotations[key];
    if (value === undefined) return undefined;
    const ratio = this.#ratioOf(key);
    if (ratio !== undefined) return { kind: 'ratio', ratio, from: key };
    this.#refuse(
      key,
      'FieldValueInvalid',
      `is ${quote(value)}, must be a whole number from 1 to ${MAX_RATIO}: the slots to be had`,
    );
    return undefined;
  }

  #ratioOf(key: string): number | undefined {
    const value = this.#annotations[key] ?? '';
    const ratio = /^[1-9]\d?$/.test(value) ? Number(value) : 0;
    return ratio >= 1 && ratio <= MAX_RATIO ? ratio : undefined;
  }

  #vram(key: string): Sized | undefined {
    const value = this.#annotations[key];
    if (value === undefined) return undefined;
    const bytes = parseQuantity(value);
    if (bytes !== undefined && bytes >= MIN_VRAM && bytes <= MAX_VRAM)
      return { kind: 'vram', bytes: Math.ceil(bytes), from: key };
    this.#refuse(key, 'FieldValueInvalid', `is ${quote(value)}, must be a quantity from 1Mi to 1Pi, such as 10Gi`);
    return undefined;
  }

  #flag(key: string): boolean | undefined {
    const value = this.#annotations[key];
    if (value === undefined) return undefined;
    if (value === 'true' || value === 'false') return value === 'true';
    this.#refuse(key, 'FieldValueNotSupported', `is ${quote(value)}, must be "true" or "false"`);
    return undefined;
  }

  #type(key: string): Wish['workloadType'] {
    const value = this.#annotations[key];
    if (value === undefined) return undefined;
    const type = this.#typeOf(key);
    if (type !== undefined) return { type, from: key };
    this.#refuse(key, 'FieldValueNotSupported', `is ${quote(value)}, must be one of ${TYPES}`);
    return undefined;
  }

  #typeOf(key: string): WorkloadType | undefined {
    const value = this.#annotations[key];
    return WORKLOAD_TYPES.find((known) => known === value);
  }

  /** A key of our domain that is none of ours. */
  #foreign(key: string, name: string): void {
    if (GUARDED.test(name)) this.#unknown(key, KNOWN);
    else if (this.#doubts.length < MAX_DOUBTS && this.#compared < MAX_COMPARED) {
      this.#compared += 1;
      const near = nearest(name, NEAR_MISSES);
      // Short words are all near to each other: a slip is hardly in the first letter.
      const meant = near?.[0] === name[0]?.toLowerCase() ? ALIASES.get(near ?? '') : undefined;
      if (meant !== undefined) this.#doubts.push(`${key} is not an annotation of Penstock; did you mean ${meant}?`);
    }
  }

  /** The containers that there are. */
  #there(): string {
    const names = [...this.#containers].slice(0, MAX_NAMED).join(', ');
    return this.#containers.size > MAX_NAMED ? `${names} and ${this.#containers.size - MAX_NAMED} more` : names;
  }

  #unknown(key: string, known: readonly string[]): void {
    const near = nearest(key, known);
    const hint = near === undefined ? `known are ${known.join(', ')}` : `did you mean ${near}?`;
    this.#refuse(key, 'FieldValueNotSupported', `is not an annotation of Penstock; ${hint}`);
  }

  #refuse(key: string, reason: FieldCause['reason'], message: string): void {
    this.#causes.push({ field: `metadata.annotations[${cut(key, MAX_KEY)}]`, reason, message: cut(message, MAX_TEXT) });
  }
}

const DOMAIN = `.slice.${GROUP}`;

function same(a: Sized, b: Sized): boolean {
  return a.kind === 'ratio' ? b.kind === 'ratio' && a.ratio === b.ratio : b.kind === 'vram' && a.bytes === b.bytes;
}

function quote(value: string): string {
  return JSON.stringify(cut(value, SHOWN));
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length)}…` : text;
}
