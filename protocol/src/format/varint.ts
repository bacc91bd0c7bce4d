import { invalid } from "../errors.ts";

/** Unsigned LEB128 up to 2^53 - 1, shortest form only. */
export function uvarintLength(value: number): number {
  let length = 1;
  while (value >= 0x80) {
    value = Math.floor(value / 128);
    length++;
  }
  return length;
}

/** Writes at `offset` and returns the offset behind it. */
export function writeUvarint(buffer: Buffer, offset: number, value: number): number {
  while (value >= 0x80) {
    buffer[offset++] = (value % 128) | 0x80;
    value = Math.floor(value / 128);
  }
  buffer[offset++] = value;
  return offset;
}

/** Reads forward through bytes, refusing to run past their end. */
export class ByteReader {
  readonly bytes: Buffer;
  offset = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get done(): boolean {
    return this.offset === this.bytes.length;
  }

  u8(): number {
    const value = this.bytes[this.offset];
    if (value === undefined) throw invalid("the bytes end too early");
    this.offset++;
    return value;
  }

  uvarint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (byte === 0 && scale > 1) throw invalid("a number is not in its shortest form");
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      scale *= 128;
      if (scale > 2 ** 49) break;
    }
    throw invalid("a number is too large");
  }

  take(length: number): Buffer {
    const end = this.offset + length;
    if (end > this.bytes.length) throw invalid("the bytes end too early");
    const part = this.bytes.subarray(this.offset, end);
    this.offset = end;
    return part;
  }
}
