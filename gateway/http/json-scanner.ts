// SPDX-License-Identifier: Apache-2.0
import { JSON_DEPTH_MAX, KEY_MAX_CHARS } from '../limits.ts';
import { Utf8Check } from './utf8-check.ts';

/** Why bytes are not JSON, and where. */
export interface JsonFault {
  readonly reason: string;
  /** Offset of the first byte that does not fit, of the first of a sequence that is no UTF-8; the length when the text ends too early. */
  readonly position: number;
}

/** Raw JSON text of the member that was looked for; `unusable` when it is no string or number, or too long to be kept. */
export type FoundMember = { readonly text: string } | 'absent' | 'unusable';

/** Longest raw text kept of a key or of the member's value; `\u` escapes take six bytes a character. */
const CAPTURE_MAX = KEY_MAX_CHARS * 6 + 2;
/** Longest literal or number; what is beyond it is no number that anyone can use. */
const BARE_MAX = 1024;
const BARE = /^(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)$/;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const LOWER_U = 0x75;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** What may come next. `first…`: right after the opening bracket, where the closing one is fine too. */
type Expect = 'value' | 'firstKey' | 'key' | 'firstItem' | 'colon' | 'after' | 'string' | 'escape' | 'hex' | 'bare';

/**
 * Checks JSON in UTF-8 (RFC 8259 §8.1) as it streams by and picks the value of one top-level member, in memory that does not grow with
 * the document: a body of a gigabyte must be neither held nor parsed to find its `_rid`.
 */
export class JsonScanner {
  readonly #memberName: string;
  readonly #utf8 = new Utf8Check();
  /** true = object, false = array. */
  readonly #stack: boolean[] = [];
  #expect: Expect = 'value';
  #position = 0;
  #fault: JsonFault | undefined;
  #stringIsKey = false;
  #hexLeft = 0;
  /** Text of the key, the value or the bare word being read; undefined while a string of no interest passes. */
  #capture: string | undefined;
  /** The value that comes next, or is being read, is the member's. */
  #wanted = false;
  #found: FoundMember = 'absent';

  constructor(memberName: string) {
    this.#memberName = memberName;
  }

  /** Answers the fault once there is one; from then on nothing more is looked at. */
  push(chunk: Uint8Array): JsonFault | undefined {
    if (this.#fault !== undefined) return this.#fault;
    const bad = this.#utf8.push(chunk);
    if (bad === undefined) {
      this.#scan(chunk);
      return this.#fault;
    }
    const at = this.#position + bad;
    // What was wrong before it comes first, and so does what would be wrong with any such byte there: outside a string.
    this.#scan(chunk.subarray(0, Math.max(0, bad + 1)));
    this.#fault ??= { reason: 'not UTF-8', position: at };
    return this.#fault;
  }

  #scan(chunk: Uint8Array): void {
    let i = 0;
    while (i < chunk.length && this.#fault === undefined) {
      // Most bytes are text in strings of no interest: on to the next one that means something.
      if (this.#expect === 'string' && this.#capture === undefined) {
        const from = i;
        while (i < chunk.length && isPlain(chunk[i] ?? 0)) i++;
        this.#position += i - from;
        if (i === chunk.length) break;
      }
      this.#step(chunk[i] ?? 0);
      i += 1;
      if (this.#fault === undefined) this.#position += 1;
    }
  }

  /** The text is complete: a fault when it ended too early. */
  end(): JsonFault | undefined {
    if (this.#fault === undefined && this.#expect === 'bare') this.#closeBare();
    if (this.#fault === undefined && (this.#expect !== 'after' || this.#stack.length > 0)) {
      this.#fail('the text ends too early');
    }
    return this.#fault;
  }

  /** The last one, if the member is there more than once: as JSON.parse has it. */
  member(): FoundMember {
    return this.#found;
  }

  #fail(reason: string): void {
    this.#fault ??= { reason, position: this.#position };
  }

  #step(byte: number): void {
    if (this.#expect === 'string') this.#inString(byte);
    else if (this.#expect === 'escape') this.#inEscape(byte);
    else if (this.#expect === 'hex') this.#inHex(byte);
    else if (this.#expect !== 'bare' || !this.#inBare(byte)) this.#structural(byte);
  }

  #structural(byte: number): void {
    if (this.#fault !== undefined || byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) return;
    switch (this.#expect) {
      case 'value':
        return this.#startValue(byte);
      case 'after':
        return this.#afterValue(byte);
      case 'firstItem':
        return byte === CLOSE_ARRAY ? this.#close(false) : this.#startValue(byte);
      case 'colon':
        if (byte !== COLON) return this.#fail('a colon was expected');
        this.#expect = 'value';
        return;
      default:
        if (byte === QUOTE) this.#openString(true);
        else if (byte === CLOSE_OBJECT && this.#expect === 'firstKey') this.#close(true);
        else this.#fail('a member name in double quotes was expected');
    }
  }

  #startValue(byte: number): void {
    if (byte === QUOTE) this.#openString(false);
    else if (byte === OPEN_OBJECT) this.#open(true);
    else if (byte === OPEN_ARRAY) this.#open(false);
    else if (byte === 0x2d || isAlphanumeric(byte)) {
      this.#capture = String.fromCharCode(byte);
      this.#expect = 'bare';
    } else this.#fail('a value was expected');
  }

  #afterValue(byte: number): void {
    const inObject = this.#stack.at(-1);
    if (inObject === undefined) this.#fail('text after the end of the document');
    else if (byte === COMMA) this.#expect = inObject ? 'key' : 'value';
    else if (byte === CLOSE_OBJECT) this.#close(true);
    else if (byte === CLOSE_ARRAY) this.#close(false);
    else this.#fail('a comma or a closing bracket was expected');
  }

  #open(isObject: boolean): void {
    if (this.#wanted) {
      this.#found = 'unusable';
      this.#wanted = false;
    }
    if (this.#stack.length >= JSON_DEPTH_MAX) return this.#fail(`nested deeper than ${JSON_DEPTH_MAX} levels`);
    this.#stack.push(isObject);
    this.#expect = isObject ? 'firstKey' : 'firstItem';
  }

  #close(isObject: boolean): void {
    if (this.#stack.pop() !== isObject) return this.#fail('a closing bracket that matches no opening one');
    this.#expect = 'after';
  }

  #openString(isKey: boolean): void {
    this.#stringIsKey = isKey;
    this.#capture = this.#wanted || (isKey && this.#stack.length === 1) ? '"' : undefined;
    this.#expect = 'string';
  }

  #inString(byte: number): void {
    this.#keep(byte);
    if (byte === QUOTE) this.#closeString();
    else if (byte === BACKSLASH) this.#expect = 'escape';
    else if (byte < 0x20) this.#fail('a control character in a string');
  }

  #closeString(): void {
    if (!this.#stringIsKey) return this.#closeValue();
    const { length } = this.#capture ?? '';
    this.#wanted = length > 0 && length <= CAPTURE_MAX && unquote(this.#capture ?? '') === this.#memberName;
    this.#capture = undefined;
    this.#expect = 'colon';
  }

  #inEscape(byte: number): void {
    this.#keep(byte);
    if (byte === LOWER_U) {
      this.#hexLeft = 4;
      this.#expect = 'hex';
    } else if ('"\\/bfnrt'.includes(String.fromCharCode(byte))) this.#expect = 'string';
    else this.#fail('an escape that JSON does not know');
  }

  #inHex(byte: number): void {
    this.#keep(byte);
    if (!/[0-9a-fA-F]/.test(String.fromCharCode(byte))) return this.#fail('four hex digits were expected');
    this.#hexLeft -= 1;
    if (this.#hexLeft === 0) this.#expect = 'string';
  }

  /** False when the word has ended: the byte that ended it is then looked at for itself. */
  #inBare(byte: number): boolean {
    const part = byte === 0x2b || byte === 0x2d || byte === 0x2e || isAlphanumeric(byte);
    if (part && (this.#capture ?? '').length < BARE_MAX) {
      this.#capture += String.fromCharCode(byte);
      return true;
    }
    this.#closeBare();
    return false;
  }

  #closeBare(): void {
    const word = this.#capture ?? '';
    if (!BARE.test(word)) return this.#fail('not a literal or number of JSON');
    // true, false and null name no request; only strings and numbers do.
    if (this.#wanted && /^[tfn]/.test(word)) this.#capture = undefined;
    this.#closeValue();
  }

  #closeValue(): void {
    if (this.#wanted) {
      const text = this.#capture;
      this.#found = text === undefined || text.length > CAPTURE_MAX ? 'unusable' : { text: utf8(text) };
      this.#wanted = false;
    }
    this.#capture = undefined;
    this.#expect = 'after';
  }

  #keep(byte: number): void {
    if (this.#capture !== undefined && this.#capture.length <= CAPTURE_MAX) {
      this.#capture += String.fromCharCode(byte);
    }
  }
}

/** Where and why `bytes` stop being JSON. */
export function jsonFault(bytes: Uint8Array): JsonFault {
  const scanner = new JsonScanner('');
  return scanner.push(bytes) ?? scanner.end() ?? { reason: 'not understood', position: bytes.length };
}

function isPlain(byte: number): boolean {
  return byte >= 0x20 && byte !== QUOTE && byte !== BACKSLASH;
}

function isAlphanumeric(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
}

/** Bytes that were kept one char each, as the UTF-8 text that they are. */
function utf8(latin1: string): string {
  return Buffer.from(latin1, 'latin1').toString('utf8');
}

function unquote(text: string): string | undefined {
  try {
    return String(JSON.parse(utf8(text)));
  } catch {
    return undefined;
  }
}
