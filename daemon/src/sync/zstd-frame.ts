import { invalid } from "@vlinder/protocol";

/**
 * Bytes of the Zstandard frame (RFC 8878, 3.1.1) that starts here, by its headers alone. The library
 * decides by itself what to make of bytes behind a frame; a pack must have none. @throws invalid
 */
export function zstdFrameLength(bytes: Buffer): number {
  const need = (end: number): number => {
    if (end > bytes.length) throw invalid("a zstd frame is cut off");
    return end;
  };
  need(5);
  if (bytes.readUInt32LE(0) !== 0xfd2fb528) throw invalid("not a zstd frame");
  const descriptor = bytes[4] as number;
  const single = (descriptor & 0x20) !== 0;
  if ((descriptor & 0x0b) !== 0) throw invalid("a zstd frame has a dictionary or something unknown");
  const sizeBytes = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] as number;
  let at = 5 + (single ? 0 : 1) + sizeBytes;
  for (let last = false; !last;) {
    need(at + 3);
    const block = bytes.readUIntLE(at, 3);
    last = (block & 1) === 1;
    const type = (block >> 1) & 3;
    if (type === 3) throw invalid("a zstd frame has a block of an unknown type");
    at = need(at + 3 + (type === 1 ? 1 : block >> 3));
  }
  return need(at + ((descriptor & 0x04) === 0 ? 0 : 4));
}
