import { isUtf8 } from "node:buffer";
import { invalid } from "./errors.ts";
import { asBuffer } from "./hash.ts";
import { LIMITS } from "./limits.ts";

/**
 * A strict reader of MessagePack: the part of it that has a JSON form, plus binary.
 *
 * The usual libraries are lenient in ways that matter here: they replace invalid UTF-8 (so that two
 * different keys become one), take maps with numbers as keys, extensions and NaN, and let the last
 * of two equal fields win. What a peer sends is hashed and stored, so there is one reading or none.
 * Nothing is allocated by a declared length: it must fit in the bytes that are there.
 *
 * Binary comes out as a view of the message, not as a copy.
 * @throws invalid
 */
export function readMsgpack(body: Uint8Array): unknown {
  const reader = new MsgpackReader(asBuffer(body));
  const value = reader.value(0);
  if (reader.at !== body.length) throw malformed("there are bytes behind the end");
  return value;
}

function malformed(why: string): Error {
  return invalid(`the body is not MessagePack as the protocol takes it: ${why}`, {
    remedy: "send one map of nil, booleans, finite numbers, UTF-8 text, binary, arrays and maps with text as keys",
  });
}

/** Text up to this long is looked at byte by byte first: ASCII, which it mostly is, needs no check of its UTF-8. */
const SHORT = 128;

/**
 * Names of fields that were met lately, by a hash of their bytes. There are few of them, and to find one
 * costs less than to make text of its bytes; as the runtime knows it already, so does to set a field of that name.
 */
const names = new Array<string>(256).fill("");
const LONGEST_NAME = 16;

export class MsgpackReader {
  readonly bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  value(depth: number): unknown {
    const type = this.uint(1);
    if (type < 0x80) return type;
    if (type < 0x90) return this.map(type & 0x0f, depth);
    if (type < 0xa0) return this.array(type & 0x0f, depth);
    if (type < 0xc0) return this.text(type & 0x1f);
    if (type >= 0xe0) return type - 0x100;
    switch (type) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.binary(this.uint(1));
      case 0xc5:
        return this.binary(this.uint(2));
      case 0xc6:
        return this.binary(this.uint(4));
      case 0xca:
        return finite(this.bytes.readFloatBE(this.skip(4)));
      case 0xcb:
        return finite(this.bytes.readDoubleBE(this.skip(8)));
      case 0xcc:
        return this.uint(1);
      case 0xcd:
        return this.uint(2);
      case 0xce:
        return this.uint(4);
      case 0xcf:
        return safe(this.bytes.readBigUInt64BE(this.skip(8)));
      case 0xd0:
        return this.bytes.readInt8(this.skip(1));
      case 0xd1:
        return this.bytes.readInt16BE(this.skip(2));
      case 0xd2:
        return this.bytes.readInt32BE(this.skip(4));
      case 0xd3:
        return safe(this.bytes.readBigInt64BE(this.skip(8)));
      case 0xd9:
        return this.text(this.uint(1));
      case 0xda:
        return this.text(this.uint(2));
      case 0xdb:
        return this.text(this.uint(4));
      case 0xdc:
        return this.array(this.uint(2), depth);
      case 0xdd:
        return this.array(this.uint(4), depth);
      case 0xde:
        return this.map(this.uint(2), depth);
      case 0xdf:
        return this.map(this.uint(4), depth);
      default:
        throw malformed(`type 0x${type.toString(16)} is an extension or unused`);
    }
  }

  /** Moves over `length` bytes and returns where they start. */
  private skip(length: number): number {
    const start = this.at;
    if (length > this.bytes.length - start) throw malformed("it ends too early");
    this.at = start + length;
    return start;
  }

  private uint(length: 1 | 2 | 4): number {
    const start = this.skip(length);
    if (length === 1) return this.bytes[start] as number;
    return length === 2 ? this.bytes.readUInt16BE(start) : this.bytes.readUInt32BE(start);
  }

  private binary(length: number): Uint8Array {
    const start = this.skip(length);
    return this.bytes.subarray(start, start + length);
  }

  private text(length: number): string {
    const start = this.skip(length);
    const end = start + length;
    return length <= SHORT && this.isAscii(start, end)
      ? this.bytes.toString("latin1", start, end)
      : this.unicode(start, end);
  }

  private isAscii(start: number, end: number): boolean {
    let all = 0;
    for (let i = start; i < end; i++) all |= this.bytes[i] as number;
    return all < 0x80;
  }

  private unicode(start: number, end: number): string {
    if (!isUtf8(this.bytes.subarray(start, end))) throw malformed("text is not valid UTF-8");
    return this.bytes.toString("utf8", start, end);
  }

  private array(length: number, depth: number): unknown[] {
    // Every item takes a byte at least, so a length that lies is found before anything is made.
    if (length > this.bytes.length - this.at) throw malformed("an array is longer than the body");
    if (depth >= LIMITS.depth) throw tooDeep();
    const items: unknown[] = [];
    for (let i = 0; i < length; i++) items.push(this.value(depth + 1));
    return items;
  }

  private map(length: number, depth: number): Record<string, unknown> {
    if (2 * length > this.bytes.length - this.at) throw malformed("a map is longer than the body");
    if (depth >= LIMITS.depth) throw tooDeep();
    const map: Record<string, unknown> = {};
    for (let i = 0; i < length; i++) {
      const name = this.name();
      if (name === "__proto__") throw reservedName();
      if (Object.hasOwn(map, name)) throw malformed(`the field ${JSON.stringify(name.slice(0, 80))} is there twice`);
      map[name] = this.value(depth + 1);
    }
    return map;
  }

  private name(): string {
    const type = this.uint(1);
    if (type >= 0xa0 && type < 0xc0) return this.shortName(type & 0x1f);
    if (type === 0xd9) return this.text(this.uint(1));
    if (type === 0xda) return this.text(this.uint(2));
    if (type === 0xdb) return this.text(this.uint(4));
    throw malformed("a map's key is not text");
  }

  private shortName(length: number): string {
    if (length > LONGEST_NAME || length === 0) return this.text(length);
    const start = this.skip(length);
    const { bytes } = this;
    const slot = (31 * (bytes[start] as number) + 7 * (bytes[start + length - 1] as number) + length) & 0xff;
    const known = names[slot] as string;
    let i = known.length === length ? 0 : length;
    while (i < length && known.charCodeAt(i) === bytes[start + i]) i++;
    if (i === length && known.length === length) return known;
    this.at = start;
    const name = this.text(length);
    // Only ASCII is as long in characters as in bytes.
    if (name.length === length) names[slot] = name;
    return name;
  }
}

function finite(value: number): number {
  if (Number.isFinite(value)) return value;
  throw malformed(`${value} is not a finite number`);
}

function safe(value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw malformed(`the integer ${value} does not fit in 53 bits`);
}

export function tooDeep(): Error {
  return invalid(`the body is nested more than ${LIMITS.depth} deep`, {
    details: { limit: LIMITS.depth },
    remedy: "send a flatter document, or store it as a value, which is not looked into",
  });
}

/** In JavaScript this name is not a field like others; libraries on the way drop it without a word. */
export function reservedName(): Error {
  return invalid('a field must not be named "__proto__"', { remedy: "choose another name" });
}
