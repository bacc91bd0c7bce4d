/** Bytes of a prefix: as many of a hash as make a whole number that JavaScript holds exactly. */
export const PREFIX_BYTES = 6;
export const PREFIX_RANGE = 2 ** (8 * PREFIX_BYTES);

export function hashPrefix(hash: Buffer, at = 0): number {
  return hash.readUIntBE(at, PREFIX_BYTES);
}

/**
 * Locations by hash prefix, several for one where hashes begin alike. Open addressing over plain numbers: a
 * Map with as many would take five times the memory and time.
 */
export class PrefixTable {
  #prefixes: Float64Array;
  #locations: Float64Array;
  #mask: number;
  #size = 0;

  constructor(room = 32) {
    let slots = 64;
    while (slots < room * 2) slots *= 2;
    this.#prefixes = new Float64Array(slots).fill(-1);
    this.#locations = new Float64Array(slots);
    this.#mask = slots - 1;
  }

  get size(): number {
    return this.#size;
  }

  add(prefix: number, location: number): void {
    if (this.#size * 2 > this.#mask) this.#grow();
    let at = this.#start(prefix);
    while (this.#prefixes[at] !== -1) at = (at + 1) & this.#mask;
    this.#prefixes[at] = prefix;
    this.#locations[at] = location;
    this.#size++;
  }

  has(prefix: number): boolean {
    for (let at = this.#start(prefix); ; at = (at + 1) & this.#mask) {
      const there = this.#prefixes[at];
      if (there === prefix) return true;
      if (there === -1) return false;
    }
  }

  /** Appends what it has under a prefix. */
  find(prefix: number, found: number[]): void {
    for (let at = this.#start(prefix); ; at = (at + 1) & this.#mask) {
      const there = this.#prefixes[at];
      if (there === prefix) found.push(this.#locations[at] as number);
      else if (there === -1) return;
    }
  }

  /** In no order. */
  *entries(): Generator<[prefix: number, location: number]> {
    for (const [at, prefix] of this.#prefixes.entries()) {
      if (prefix !== -1) yield [prefix, this.#locations[at] as number];
    }
  }

  /** Only what has a greater location stays. */
  keepAbove(location: number): PrefixTable {
    const kept = new PrefixTable(this.#size / 2);
    for (let at = 0; at <= this.#mask; at++) {
      const there = this.#locations[at] as number;
      if (this.#prefixes[at] !== -1 && there > location) kept.add(this.#prefixes[at] as number, there);
    }
    return kept;
  }

  /** The low bits of a prefix are as good as any hash of it. (Not with `%`, which is slow above 2^31.) */
  #start(prefix: number): number {
    return prefix & this.#mask;
  }

  #grow(): void {
    const larger = new PrefixTable(this.#mask + 1);
    for (let at = 0; at <= this.#mask; at++) {
      if (this.#prefixes[at] !== -1) larger.add(this.#prefixes[at] as number, this.#locations[at] as number);
    }
    this.#prefixes = larger.#prefixes;
    this.#locations = larger.#locations;
    this.#mask = larger.#mask;
  }
}
