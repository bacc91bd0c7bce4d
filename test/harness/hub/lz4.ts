import { insist, Refusal } from "./refusal.ts";

const MAGIC = 0x184d2204;
const BLOCK_BYTES: Readonly<Record<number, number>> = { 4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 1 << 22 };

/** The content of one LZ4 frame (lz4_Frame_format.md 1.6.1), which must fill `bytes` and give `length`. @throws Refusal */
export function lz4Frame(bytes: Buffer, length: number): Buffer {
  insist(bytes.length >= 7 && bytes.readUInt32LE(0) === MAGIC, "LZ4: no frame");
  const flags = bytes[4] as number;
  const descriptor = bytes[5] as number;
  // Version 01, no checksums, no content size, no dictionary: what Xet chunks have.
  insist((flags & 0xdf) === 0x40, `LZ4: flags ${flags}`);
  const most = BLOCK_BYTES[descriptor >> 4];
  insist(most !== undefined && (descriptor & 0x8f) === 0, `LZ4: block size ${descriptor}`);
  insist(bytes[6] === ((xxh32(bytes.subarray(4, 6)) >>> 8) & 0xff), "LZ4: the header's checksum is wrong");
  const raw = Buffer.alloc(length);
  let filled = 0;
  let offset = 7;
  for (;;) {
    insist(offset + 4 <= bytes.length, "LZ4: the frame has no end");
    const word = bytes.readUInt32LE(offset);
    offset += 4;
    if (word === 0) break;
    const size = word & 0x7fffffff;
    insist(size <= most && offset + size <= bytes.length, "LZ4: a block leaves the frame");
    const block = bytes.subarray(offset, offset + size);
    if (word >>> 31 === 1) {
      insist(filled + size <= length, "LZ4: more than was announced");
      filled += block.copy(raw, filled);
    } else filled = readBlock(block, raw, filled);
    offset += size;
  }
  insist(offset === bytes.length, "LZ4: bytes behind the frame");
  insist(filled === length, `LZ4: ${filled} bytes where ${length} were announced`);
  return raw;
}

function readBlock(block: Buffer, raw: Buffer, start: number): number {
  let at = start;
  let i = 0;
  const more = (base: number): number => {
    let value = base;
    if (base !== 15) return value;
    for (;;) {
      const byte = block[i++];
      insist(byte !== undefined, "LZ4: a length is cut");
      value += byte;
      if (byte !== 255) return value;
    }
  };
  while (i < block.length) {
    const token = block[i++] as number;
    const literals = more(token >> 4);
    insist(i + literals <= block.length && at + literals <= raw.length, "LZ4: literals leave their block");
    at += block.copy(raw, at, i, i + literals);
    i += literals;
    if (i === block.length) return at;
    insist(i + 2 <= block.length, "LZ4: an offset is cut");
    const back = block.readUInt16LE(i);
    i += 2;
    const matched = more(token & 15) + 4;
    insist(back > 0 && back <= at && at + matched <= raw.length, "LZ4: a match leaves its data");
    for (const end = at + matched; at < end; at++) raw[at] = raw[at - back] as number;
  }
  throw new Refusal(400, "LZ4: a block does not end with literals");
}

/** xxHash32 with seed 0 of less than 4 bytes. */
function xxh32(bytes: Buffer): number {
  let hash = (374761393 + bytes.length) | 0;
  for (const byte of bytes) {
    hash = (hash + Math.imul(byte, 374761393)) | 0;
    hash = Math.imul((hash << 11) | (hash >>> 21), 2654435761);
  }
  hash = Math.imul(hash ^ (hash >>> 15), 2246822519);
  hash = Math.imul(hash ^ (hash >>> 13), 3266489917);
  return (hash ^ (hash >>> 16)) >>> 0;
}
