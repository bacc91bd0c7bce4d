/*
 * An entry, little-endian: u32 owner, u16 length of the name, u16 length, u8 mark, name, bytes, and room that stays free:
 * it stands for what the table takes for it.
 */
const NAMES = 4;
const LENGTH = 6;
const MARK = 8;
const NAME = 9;
const ROOM = 24;

/** The ring is taken and written over piece by piece, of so many bytes. */
const PIECE = 1 << 20;
/** A ring grows over its least size as long as so much of what is asked for is found, and shrinks when it is less than half of that. */
const WORTH = 0.1;
/** Of so many that are asked for. */
const SAMPLE = 500;
/** Of a name and its bytes, each. */
const LONGEST = 0xffff;
const SMALLEST_TABLE = 1 << 12;
/** In the table, of an entry that was taken out: as good as one that was written over. */
const GONE = -1;

/** How names are written: `hex` takes half as much. */
export type Naming = "latin1" | "hex";

/**
 * Small things by owner and name in a ring of memory, found by a table of plain numbers: a hundred thousand of them are
 * nothing that the garbage collector looks at, and the oldest go by being written over. What is asked for in the
 * oldest quarter is written anew. It is as large as it is of use: of a state many times its size hardly anything would be found in it.
 */
export class Ring {
  readonly #naming: Naming;
  readonly #least: number;
  readonly #most: number;
  /** From the one of `#start` on. */
  readonly #pieces: Buffer[] = [];
  /** Since its size was judged. */
  #asked = 0;
  #found = 0;
  /** Places count on and on; the ring has those from the start of a piece to where the next entry goes. */
  #start = 0;
  #end = 0;
  /** By its tag, an entry's place and 1 more; 0: there never was one; or GONE. */
  #places = new Float64Array(SMALLEST_TABLE);
  #tags = new Int32Array(SMALLEST_TABLE);
  #used = 0;

  /** Taken as they are needed: @param least pieces of 1 MB in any case @param most where it is of use */
  constructor(naming: Naming, least: number, most: number) {
    this.#naming = naming;
    this.#least = least;
    this.#most = most;
  }

  /** Bytes that it has taken, its table aside. */
  get size(): number {
    return this.#pieces.length * PIECE;
  }

  /** A copy, as the ring goes on; undefined: it is not here. `check` is asked about what bears a mark: true takes that away, false throws it out. */
  get(owner: number, name: string, check?: (bytes: Buffer) => boolean): Buffer | undefined {
    this.#asked++;
    const slot = this.#find(owner, name);
    if (slot < 0) return undefined;
    this.#found++;
    const place = (this.#places[slot] as number) - 1;
    const [piece, at] = [this.#piece(place), place % PIECE];
    const start = at + NAME + piece.readUInt16LE(at + NAMES);
    const bytes = Buffer.from(piece.subarray(start, start + piece.readUInt16LE(at + LENGTH)));
    if (piece[at + MARK] !== 0) {
      if (check?.(bytes) === false) {
        this.#take(slot);
        return undefined;
      }
      piece[at + MARK] = 0;
    }
    if (place < this.#end - (this.size * 3) / 4) this.#move(slot, owner, name, bytes);
    return bytes;
  }

  /** Keeps a copy of what is not here. What is too large is not kept. */
  add(owner: number, name: string, bytes: Uint8Array, marked = false): void {
    if (bytes.length > LONGEST || name.length > LONGEST || this.#find(owner, name) >= 0) return;
    this.#note(tagOf(name), this.#write(owner, name, bytes, marked));
  }

  /** Puts other bytes in the place of those that are here; where there are none, nothing. */
  replace(owner: number, name: string, bytes: Uint8Array): void {
    const slot = this.#find(owner, name);
    if (slot < 0) return;
    const place = (this.#places[slot] as number) - 1;
    const [piece, at] = [this.#piece(place), place % PIECE];
    if (piece.readUInt16LE(at + LENGTH) !== bytes.length) this.#move(slot, owner, name, bytes);
    else piece.set(bytes, at + NAME + piece.readUInt16LE(at + NAMES));
  }

  /** Nothing of it stays in this memory. */
  delete(owner: number, name: string): void {
    const slot = this.#find(owner, name);
    if (slot >= 0) this.#take(slot);
  }

  #take(slot: number): void {
    this.#erase((this.#places[slot] as number) - 1);
    this.#places[slot] = GONE;
  }

  /** Writes what a slot has anew. */
  #move(slot: number, owner: number, name: string, bytes: Uint8Array): void {
    this.#erase((this.#places[slot] as number) - 1);
    this.#places[slot] = this.#write(owner, name, bytes, false) + 1;
  }

  #piece(place: number): Buffer {
    return this.#pieces[Math.floor((place - this.#start) / PIECE)] as Buffer;
  }

  #erase(place: number): void {
    const [piece, at] = [this.#piece(place), place % PIECE];
    piece.fill(0, at, at + NAME + piece.readUInt16LE(at + NAMES) + piece.readUInt16LE(at + LENGTH));
  }

  /** Where it was written. */
  #write(owner: number, name: string, bytes: Uint8Array, marked: boolean): number {
    const names = this.#naming === "hex" ? name.length / 2 : name.length;
    const size = NAME + names + bytes.length + ROOM;
    if ((this.#end % PIECE) + size > PIECE) this.#end = Math.ceil(this.#end / PIECE) * PIECE;
    const place = this.#end;
    const at = place % PIECE;
    if (at === 0) this.#begin();
    const piece = this.#piece(place);
    piece.writeUInt32LE(owner, at);
    piece.writeUInt16LE(names, at + NAMES);
    piece.writeUInt16LE(bytes.length, at + LENGTH);
    piece[at + MARK] = marked ? 1 : 0;
    piece.write(name, at + NAME, names, this.#naming);
    piece.set(bytes, at + NAME + names);
    this.#end += size;
    return place;
  }

  /** A piece for what comes next: another one, or the oldest, of which nothing stays. */
  #begin(): void {
    const room = this.#judge();
    let oldest: Buffer | undefined;
    while (this.#pieces.length >= room) {
      oldest = this.#pieces.shift()?.fill(0);
      this.#start += PIECE;
    }
    this.#pieces.push(oldest ?? Buffer.allocUnsafeSlow(PIECE));
  }

  /** How many pieces there are to be. */
  #judge(): number {
    const { length } = this.#pieces;
    if (length < this.#least) return length + 1;
    if (this.#asked < SAMPLE) return length;
    const rate = this.#found / this.#asked;
    this.#asked = 0;
    this.#found = 0;
    if (rate >= WORTH) return Math.min(length + 1, this.#most);
    return rate < WORTH / 2 ? Math.max(length - 1, this.#least) : length;
  }

  /** The slot of an entry; -1: there is none. */
  #find(owner: number, name: string): number {
    const tag = tagOf(name);
    const mask = this.#tags.length - 1;
    for (let slot = tag & mask; ; slot = (slot + 1) & mask) {
      const there = this.#places[slot] as number;
      if (there === 0) return -1;
      if (this.#tags[slot] === tag && there > this.#start && this.#is(there - 1, owner, name)) return slot;
    }
  }

  #is(place: number, owner: number, name: string): boolean {
    const [piece, at] = [this.#piece(place), place % PIECE];
    if (piece.readUInt32LE(at) !== owner) return false;
    const end = at + NAME + piece.readUInt16LE(at + NAMES);
    return piece.toString(this.#naming, at + NAME, end) === name;
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
    this.#tags = new Int32Array(slots);
    this.#used = 0;
    for (let slot = 0; slot < places.length; slot++) {
      const place = places[slot] as number;
      if (place > this.#start) this.#note(tags[slot] as number, place - 1);
    }
  }
}

/** FNV-1a. */
function tagOf(name: string): number {
  let tag = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) tag = Math.imul(tag ^ name.charCodeAt(i), 0x01000193);
  // Its low bits alone are not good enough.
  return tag ^ (tag >>> 15);
}
