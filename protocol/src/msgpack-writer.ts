import { invalid } from "./errors.ts";

/** What is kept between two bodies; a larger one gets memory of its own. */
const KEPT = 256 * 1024;
/** Shorter text is written byte by byte: below this, calling into the runtime costs more. */
const SHORT = 16;

/**
 * Writes MessagePack in one pass, in the shortest forms: as `readMsgpack` reads it. The parts of a
 * document may be written one by one, so that those who know its shape need no object of it.
 *
 * Text that is not well-formed is refused, since it would arrive as other text.
 * @throws invalid
 */
export class MsgpackWriter {
  #bytes = Buffer.allocUnsafeSlow(KEPT);
  #at = 0;

  /** Begins a document; a half one, of what threw, is forgotten. */
  begin(): void {
    this.#at = 0;
    if (this.#bytes.length > KEPT) this.#bytes = Buffer.allocUnsafeSlow(KEPT);
  }

  /** What was written, as bytes of its own. */
  take(): Uint8Array {
    return Buffer.from(this.#bytes.subarray(0, this.#at));
  }

  /** Anything that has a form in MessagePack. Fields that are undefined are left out. */
  value(value: unknown): void {
    if (typeof value === "string") this.text(value);
    else if (typeof value === "number") this.number(value);
    else if (value === null || value === undefined) this.#byte(0xc0);
    else if (typeof value === "boolean") this.#byte(value ? 0xc3 : 0xc2);
    else if (value instanceof Uint8Array) this.binary(value);
    else if (value instanceof Float32Array) {
      this.binary(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    } else if (Array.isArray(value)) {
      this.array(value.length);
      for (const item of value) this.value(item);
    } else if (typeof value === "object") this.#object(value as Record<string, unknown>);
    else throw new TypeError(`a ${typeof value} has no form in MessagePack`);
  }

  #object(object: Readonly<Record<string, unknown>>): void {
    const names = Object.keys(object);
    let fields = 0;
    for (const name of names) if (object[name] !== undefined) fields++;
    this.map(fields);
    for (const name of names) {
      const member = object[name];
      if (member === undefined) continue;
      this.text(name);
      this.value(member);
    }
  }

  /** Opens a map: so many times a text and a value follow. */
  map(fields: number): void {
    if (fields < 16) this.#byte(0x80 | fields);
    else this.#long(fields, 0xde, 0xdf);
  }

  /** Opens a list: so many values follow. */
  array(items: number): void {
    if (items < 16) this.#byte(0x90 | items);
    else this.#long(items, 0xdc, 0xdd);
  }

  text(text: string): void {
    const { length } = text;
    if (length < SHORT) {
      this.#room(1 + length);
      const start = this.#at + 1;
      for (let i = 0; i < length; i++) {
        const code = text.charCodeAt(i);
        if (code >= 0x80) return this.#unicode(text);
        this.#bytes[start + i] = code;
      }
      this.#bytes[start - 1] = 0xa0 | length;
      this.#at = start + length;
    } else this.#unicode(text);
  }

  #unicode(text: string): void {
    const { length } = text;
    this.#room(5 + 3 * length);
    // As if it were ASCII, which it mostly is: then the length was right, and nothing has to move.
    const start = this.#at + headerLength(length);
    let written = this.#bytes.write(text, start, "utf8");
    if (written !== length) {
      if (!text.isWellFormed()) throw loneSurrogate();
      written = this.#bytes.write(text, this.#at + headerLength(written), "utf8");
    }
    if (written < 32) this.#byte(0xa0 | written);
    else if (written < 0x100) this.#short(0xd9, written);
    else this.#long(written, 0xda, 0xdb);
    this.#at += written;
  }

  binary(bytes: Uint8Array): void {
    const { length } = bytes;
    this.#room(5 + length);
    if (length < 0x100) this.#short(0xc4, length);
    else this.#long(length, 0xc5, 0xc6);
    this.#bytes.set(bytes, this.#at);
    this.#at += length;
  }

  number(value: number): void {
    if (!Number.isSafeInteger(value)) {
      this.#room(9);
      this.#byte(0xcb);
      this.#at = this.#bytes.writeDoubleBE(value, this.#at);
    } else if (value >= 0) this.#positive(value);
    else this.#negative(value);
  }

  #positive(value: number): void {
    if (value < 0x80) this.#byte(value);
    else if (value < 0x100) this.#short(0xcc, value);
    else if (value < 0x1_0000_0000) this.#long(value, 0xcd, 0xce);
    else {
      this.#room(9);
      this.#byte(0xcf);
      this.#at = this.#bytes.writeBigUInt64BE(BigInt(value), this.#at);
    }
  }

  #negative(value: number): void {
    this.#room(9);
    if (value >= -0x20) this.#byte(0x100 + value);
    else if (value >= -0x80) this.#short(0xd0, 0x100 + value);
    else if (value >= -0x8000) {
      this.#byte(0xd1);
      this.#at = this.#bytes.writeInt16BE(value, this.#at);
    } else if (value >= -0x8000_0000) {
      this.#byte(0xd2);
      this.#at = this.#bytes.writeInt32BE(value, this.#at);
    } else {
      this.#byte(0xd3);
      this.#at = this.#bytes.writeBigInt64BE(BigInt(value), this.#at);
    }
  }

  /** Bytes that are MessagePack already. */
  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #byte(byte: number): void {
    this.#room(1);
    this.#bytes[this.#at++] = byte;
  }

  #short(type: number, value: number): void {
    this.#byte(type);
    this.#byte(value);
  }

  /** A type with a length or number in two bytes, or in four. */
  #long(value: number, two: number, four: number): void {
    this.#room(5);
    if (value < 0x10000) {
      this.#bytes[this.#at] = two;
      this.#at = this.#bytes.writeUInt16BE(value, this.#at + 1);
    } else {
      this.#bytes[this.#at] = four;
      this.#at = this.#bytes.writeUInt32BE(value, this.#at + 1);
    }
  }

  #room(more: number): void {
    const needed = this.#at + more;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger;
  }
}

function headerLength(length: number): number {
  if (length < 32) return 1;
  if (length < 0x100) return 2;
  return length < 0x10000 ? 3 : 5;
}

export function loneSurrogate(): Error {
  return invalid("text must be valid Unicode: it has a lone surrogate", { remedy: "send well-formed UTF-8" });
}
