const INSTEAD = Buffer.from("[secret]");

/**
 * Takes a key out of bytes that come piece by piece. A provider has no reason to send a key back, but error pages and
 * debugging servers do; and what an agent gets is kept in its history. Holds back only what may be the key's beginning.
 */
export class Redactor {
  readonly #key: Buffer | null;
  #held: Buffer = Buffer.alloc(0);

  constructor(key: string | null) {
    this.#key = key === null ? null : Buffer.from(key, "latin1");
  }

  push(bytes: Buffer): Buffer {
    const key = this.#key;
    if (key === null) return bytes;
    const all = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    const pieces: Buffer[] = [];
    let start = 0;
    for (let found = all.indexOf(key); found !== -1; found = all.indexOf(key, start)) {
      pieces.push(all.subarray(start, found), INSTEAD);
      start = found + key.length;
    }
    const rest = all.subarray(start);
    const held = beginningAtEnd(rest, key);
    this.#held = rest.subarray(rest.length - held);
    if (pieces.length === 0) return rest.subarray(0, rest.length - held);
    return Buffer.concat([...pieces, rest.subarray(0, rest.length - held)]);
  }

  /** What was held back: no more comes. */
  end(): Buffer {
    const rest = this.#held;
    this.#held = Buffer.alloc(0);
    return rest;
  }
}

/** How many bytes at the end may be the key's first ones. */
function beginningAtEnd(bytes: Buffer, key: Buffer): number {
  for (let length = Math.min(bytes.length, key.length - 1); length > 0; length--) {
    if (bytes.subarray(bytes.length - length).equals(key.subarray(0, length))) return length;
  }
  return 0;
}
