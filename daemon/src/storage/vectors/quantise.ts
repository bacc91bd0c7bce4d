/**
 * One bit per component, so that Hamming distance between two vectors' bits grows with the angle
 * between them (SimHash). The components are mixed first: signs of a fixed pseudo-random sequence,
 * then a Walsh-Hadamard transform, which keeps angles and spreads each component over all bits.
 * Without it the bits of sparse or lopsided vectors say little: of the 10 nearest among 50,000
 * term-hashing vectors, 5% were among the 400 nearest by plain sign bits, 94% by these.
 *
 * Bits are stored, so a change here is a new schema version of the index file.
 */
export class Quantiser {
  readonly #signs: Float32Array;
  readonly #mixed: Float32Array;
  /** How many inputs are used: a short vector is repeated, under other signs, for more bits of the same angle. */
  readonly #filled: number;

  constructor(dimension: number) {
    let size = 256;
    while (size < dimension) size *= 2;
    this.#mixed = new Float32Array(size);
    this.#signs = new Float32Array(size);
    this.#filled = dimension * Math.floor(size / dimension);
    let state = 0x2545f491;
    for (let i = 0; i < size; i++) {
      // xorshift32
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      this.#signs[i] = state & 1 ? 1 : -1;
    }
  }

  bits(vector: Float32Array): Buffer {
    const mixed = this.#mixed;
    const size = mixed.length;
    mixed.fill(0);
    for (let i = 0; i < this.#filled; i++) {
      mixed[i] = (vector[i % vector.length] as number) * (this.#signs[i] as number);
    }
    for (let half = 1; half < size; half *= 2) {
      for (let start = 0; start < size; start += 2 * half) {
        for (let i = start; i < start + half; i++) {
          const a = mixed[i] as number;
          const b = mixed[i + half] as number;
          mixed[i] = a + b;
          mixed[i + half] = a - b;
        }
      }
    }
    const bits = Buffer.alloc(size / 8);
    for (let i = 0; i < size; i++)
      if ((mixed[i] as number) > 0) bits[i >> 3] = (bits[i >> 3] as number) | (1 << (i & 7));
    return bits;
  }
}
