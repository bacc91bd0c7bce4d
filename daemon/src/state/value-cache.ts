import { type Hash, sha256 } from "@vlinder/protocol";

/** What is held for the whole process: so many pieces of so many bytes. */
const PIECE = 1 << 20;
const PIECES = 32;
/** What is used and lies so far back is about to go, and is written anew. */
const LATE = (PIECES * PIECE * 3) / 4;
/** Larger values are rare, and the storage reads them well. */
const LARGEST = 16 * 1024;

/*
 * An entry, little-endian: u32 owner, 32 hash, u32 length and UNCHECKED, bytes, and room that stays free: it stands for
 * what the table takes for it.
 */
const HASH = 4;
const LENGTH = 36;
const BYTES = 40;
const ROOM = 24;
const UNCHECKED = 0x80000000;

const SMALLEST_TABLE = 1 << 12;

/**
 * Values in a ring of memory, found by a table of plain numbers: a hundred thousand of them are nothing that the garbage
 * collector looks at, and the oldest go by being written over.
 */
class Ring {
  readonly #pieces: Buffer[] = [];
  /** Places count on and on; the ring has those from the start of a piece to where the next entry goes. */
  #start = 0;
  #end = 0;
  /** By its tag, an entry's place and 1 more; 0: there never was one. */
  #places = new Float64Array(SMALLEST_TABLE);
  #tags = new Uint32Array(SMALLEST_TABLE);
  #used = 0;

  /** A copy, as the ring goes on; undefined: it is not here. */
  get(owner: number, hash: Hash): Buffer | undefined {
    const slot = this.#find(owner, hash);
    if (slot < 0) return undefined;
    const place = (this.#places[slot] as number) - 1;
    const { piece, at, length, isChecked } = this.#entry(place);
    const bytes = Buffer.from(piece.subarray(at + BYTES, at + BYTES + length));
    if (!isChecked) {
      // The storage reads it again, and says what is wrong with it.
      if (sha256(bytes) !== hash) {
        this.#erase(place);
        return undefined;
      }
      piece.writeUInt32LE(length, at + LENGTH);
    }
    if (place < this.#end - LATE) {
      this.#places[slot] = this.#write(owner, hash, bytes, 0) + 1;
    }
    return bytes;
  }

  /** Keeps a copy of what is not here already. */
  add(owner: number, hash: Hash, bytes: Uint8Array, flags: 0 | typeof UNCHECKED): void {
    if (this.#find(owner, hash) < 0) this.#note(tagOf(hash), this.#write(owner, hash, bytes, flags));
  }

  /** Nothing of it stays in this memory. */
  delete(owner: number, hash: Hash): void {
    const slot = this.#find(owner, hash);
    if (slot >= 0) this.#erase((this.#places[slot] as number) - 1);
  }

  #piece(place: number): Buffer {
    return this.#pieces[Math.floor(place / PIECE) % PIECES] as Buffer;
  }

  #entry(place: number): { piece: Buffer; at: number; length: number; isChecked: boolean } {
    const [piece, at] = [this.#piece(place), place % PIECE];
    const length = piece.readUInt32LE(at + LENGTH);
    return { piece, at, length: length & ~UNCHECKED, isChecked: length < UNCHECKED };
  }

  #erase(place: number): void {
    const { piece, at, length } = this.#entry(place);
    piece.fill(0, at, at + BYTES + length);
  }

  /** Where it was written. */
  #write(owner: number, hash: Hash, bytes: Uint8Array, flags: 0 | typeof UNCHECKED): number {
    const size = BYTES + bytes.length + ROOM;
    if ((this.#end % PIECE) + size > PIECE) this.#end = Math.ceil(this.#end / PIECE) * PIECE;
    const place = this.#end;
    const at = place % PIECE;
    if (at === 0) {
      // What was in this piece is gone.
      this.#start = Math.max(0, place - (PIECES - 1) * PIECE);
      this.#pieces[(place / PIECE) % PIECES] ??= Buffer.allocUnsafeSlow(PIECE);
    }
    const piece = this.#piece(place);
    piece.writeUInt32LE(owner, at);
    piece.write(hash, at + HASH, 32, "hex");
    piece.writeUInt32LE(bytes.length + flags, at + LENGTH);
    piece.set(bytes, at + BYTES);
    this.#end += size;
    return place;
  }

  /** The slot of an entry; -1: there is none. */
  #find(owner: number, hash: Hash): number {
    const tag = tagOf(hash);
    const mask = this.#tags.length - 1;
    for (let slot = tag & mask; ; slot = (slot + 1) & mask) {
      const there = this.#places[slot] as number;
      if (there === 0) return -1;
      if (this.#tags[slot] !== tag || there <= this.#start) continue;
      const [piece, at] = [this.#piece(there - 1), (there - 1) % PIECE];
      if (piece.readUInt32LE(at) === owner && piece.toString("hex", at + HASH, at + LENGTH) === hash) return slot;
    }
  }

  /** The slot of one that is gone is as good as an empty one. */
  #note(tag: number, place: number): void {
    if (this.#used * 4 > this.#tags.length * 3) this.#rebuild();
    const mask = this.#tags.length - 1;
    let slot = tag & mask;
    while ((this.#places[slot] as number) > this.#start) slot = (slot + 1) & mask;
    if (this.#places[slot] === 0) this.#used++;
    this.#places[slot] = place + 1;
    this.#tags[slot] = tag;
  }

  #rebuild(): void {
    const [places, tags] = [this.#places, this.#tags];
    let live = 0;
    for (const place of places) if (place > this.#start) live++;
    let slots = SMALLEST_TABLE;
    while (slots < live * 2) slots *= 2;
    this.#places = new Float64Array(slots);
    this.#tags = new Uint32Array(slots);
    this.#used = 0;
    for (let slot = 0; slot < places.length; slot++) {
      const place = places[slot] as number;
      if (place > this.#start) this.#note(tags[slot] as number, place - 1);
    }
  }
}

function tagOf(hash: Hash): number {
  return Number.parseInt(hash.slice(0, 8), 16);
}

const ring = new Ring();
let owners = 0;

/**
 * Small values that were written or read lately, so that a get of them needs no promise and no storage. Each agent
 * has a cache of its own (what one has erased, another's reading must not bring back), within one bound for all.
 */
export class ValueCache {
  readonly #owner = ++owners;
  #isOpen = true;

  /** The caller's own. */
  get(hash: Hash): Buffer | undefined {
    return this.#isOpen ? ring.get(this.#owner, hash) : undefined;
  }

  /** Keeps bytes that hash to this; a copy. */
  set(hash: Hash, bytes: Uint8Array): void {
    if (this.#isOpen && bytes.length <= LARGEST) ring.add(this.#owner, hash, bytes, 0);
  }

  /** The same of bytes that were only read: their hash is computed when they are asked for. */
  offer(hash: Hash, bytes: Uint8Array): void {
    if (this.#isOpen && bytes.length <= LARGEST) ring.add(this.#owner, hash, bytes, UNCHECKED);
  }

  /** To be called for what is removed from the storage. */
  delete(hash: Hash): void {
    ring.delete(this.#owner, hash);
  }

  close(): void {
    this.#isOpen = false;
  }
}
