/** A length is a claim: room for more than this is not made before the bytes come. */
const ROOM = 72 << 20;

/**
 * The bytes of a stream in one buffer; where it is known how many come (a pack's fit), they are put into their place at once, so that
 * memory for them is taken once.
 *
 * @throws Error: fewer or more than `length` came; what the stream throws
 */
export async function collected(
  stream: AsyncIterable<Uint8Array> | undefined,
  length: number | undefined,
): Promise<Buffer> {
  const isRoomy = length !== undefined && length <= ROOM;
  const room = Buffer.allocUnsafeSlow(isRoomy ? length : 0);
  const parts: Uint8Array[] = [];
  let came = 0;
  for await (const part of stream ?? []) {
    if (!isRoomy) parts.push(part);
    else if (came + part.length <= room.length) room.set(part, came);
    came += part.length;
  }
  if (length !== undefined && came !== length) throw new Error(`${came} of ${length} bytes came`);
  return isRoomy ? room : Buffer.concat(parts);
}
