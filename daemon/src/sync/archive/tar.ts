import { invalid } from "@vlinder/protocol";

/*
 * The one kind of tar entry that an archive has: a regular file in the ustar format (POSIX.1-1988), which every tar
 * reads. A header is 512 bytes, the contents are filled up with zeros to a multiple of that, and two blocks of
 * zeros are the end.
 */
export const BLOCK = 512;
export const TAR_END = Buffer.alloc(2 * BLOCK);

/** [offset, length] in a header; numbers are octal digits and a NUL. */
const NAME = [0, 100] as const;
const SIZE = [124, 12] as const;
const CHECKSUM = [148, 8] as const;
const TYPE = 156;
/** In the ustar format the byte that closes each number is a NUL, and 11 digits hold up to 8 GiB. */
const LARGEST = 8 ** 11 - 1;

/** Bytes behind contents of this size, up to the next block. */
export function paddingOf(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/** @param seconds since 1970, for people */
export function tarHeader(name: string, size: number, seconds: number): Buffer {
  if (Buffer.byteLength(name) > NAME[1] || size > LARGEST) throw new RangeError(`no tar entry: ${name}, ${size} bytes`);
  const header = Buffer.alloc(BLOCK);
  const number = (value: number, offset: number, length: number): void => {
    header.write(value.toString(8).padStart(length - 1, "0"), offset, "latin1");
  };
  header.write(name, NAME[0], "latin1");
  number(0o644, 100, 8);
  number(0, 108, 8);
  number(0, 116, 8);
  number(size, ...SIZE);
  number(seconds, 136, 12);
  header[TYPE] = 0x30;
  header.write("ustar\x0000", 257, "latin1");
  header.write(`${checksum(header).toString(8).padStart(6, "0")}\0 `, CHECKSUM[0], "latin1");
  return header;
}

export interface TarEntry {
  readonly name: string;
  readonly size: number;
}

/** Null: a block of zeros, which is the end. @throws invalid: anything but the header of a regular file */
export function parseTarHeader(header: Buffer): TarEntry | null {
  if (header.every((byte) => byte === 0)) return null;
  const sum = header.toString("latin1", CHECKSUM[0], CHECKSUM[0] + 6);
  if (!/^[0-7]{6}$/.test(sum) || Number.parseInt(sum, 8) !== checksum(header)) {
    throw invalid("an entry of the tar has a wrong checksum: it is damaged, or no tar");
  }
  const name = textAt(header, ...NAME);
  if (header.toString("latin1", 257, 262) !== "ustar" || header[TYPE] !== 0x30 || header[345] !== 0) {
    throw invalid(`the tar's entry ${JSON.stringify(name)} is not a plain file in the ustar format`);
  }
  const size = textAt(header, ...SIZE);
  if (!/^[0-7]{11}$/.test(size)) throw invalid(`the tar's entry ${JSON.stringify(name)} has no size`);
  return { name, size: Number.parseInt(size, 8) };
}

/** Of all bytes, those of the checksum itself as spaces. */
function checksum(header: Buffer): number {
  let sum = 8 * 0x20;
  for (const [at, byte] of header.entries()) {
    if (at < CHECKSUM[0] || at >= CHECKSUM[0] + CHECKSUM[1]) sum += byte;
  }
  return sum;
}

function textAt(header: Buffer, offset: number, length: number): string {
  const text = header.toString("latin1", offset, offset + length);
  const end = text.indexOf("\0");
  return end < 0 ? text : text.slice(0, end);
}
