/** Bytes that don't compress, a function of the seed (xorshift32). */
export function noise(seed: number, size: number): Buffer {
  const bytes = Buffer.alloc(size + 4);
  let x = (seed * 2654435761 + 0x9e3779b9) >>> 0 || 1;
  for (let i = 0; i < size; i += 4) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    x >>>= 0;
    bytes.writeUInt32LE(x, i);
  }
  return bytes.subarray(0, size);
}

/** Numbers below a bound, a function of the seed. */
export function dice(seed: number): (below: number) => number {
  let x = (seed * 2654435761 + 1) >>> 0 || 1;
  return (below) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    x >>>= 0;
    return x % below;
  };
}
