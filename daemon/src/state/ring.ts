/*
 * An entry, little-endian: u32 owner, u32 tag, u16 length of the name (0: the piece ends here), u16 length, u8 marks, name,
 * bytes, and room that stays free: it stands for what the table takes for it, and makes it likely that another fits in its place.
 * One that was taken out has owner 0.
 */
const TAG = 4;
const NAMES = 8;
const LENGTH = 10;
const MARKS = 12;
const NAME = 13;
const ROOM = 20;
const STEP = 16;

/** Its bytes may be others than its name says: nobody has looked. */
const UNCHECKED = 1;
/** It was asked for since its piece was used again, or took the place of one that yielded. */
const USED = 2;
/** Something else may be written in its place. */
const YIELDS = 4;

/** The ring is taken, and gone over again, piece by piece, of so many bytes. */
const PIECE = 1 << 20;
/** What was used stays when its piece is used again, up to so many bytes of it. */
const MOST_KEPT = PIECE * 0.75;
/**
 * A ring grows over its least size as long as so much of what is asked for is found: that of each MB, up to that in all. It shrinks when it
 * is less than half of that. What is read in turn is never found in too small a ring: where a tenth would be found with what went lately, it grows, too.
 */
const WORTH_A_MB = 0.015;
const WORTH = 0.1;
/** Tags of what went that are remembered. */
const GHOSTS = 1 << 16;
/** Of so many that are asked for. */
const SAMPLE = 500;
/** Of a name and its bytes, each. */
const LONGEST = 0xffff;
/** Places of those that yield that are remembered, of one length. */
const MOST_YIELDING = 4096;
const SMALLEST_TABLE = 1 << 12;
/** In the table, of an entry that was taken out: as good as one that was written over. */
const GONE = -1;

/** How names are written. `hex` takes half as much, and is of hashes: the end of one tells it from others. */
export type Naming = "latin1" | "hex";

/**
 * Small things by owner and name in a ring of memory, found by a table of plain numbers: a hundred thousand of them are
 * nothing that the garbage collector looks at. When there is no more room, the oldest piece is used again, and what
 * was not asked for since that was begun goes. It is as large as it is of use: of a state many times its size hardly anything would be found in it.
 */
export class Ring {
  readonly #naming: Naming;
  readonly #least: number;
  readonly #most: number;
  /** From the one of `#start` on. */
  readonly #pieces: Buffer[] = [];
  /** By their length, places of entries that yield, or did. */
  readonly #yielding = new Map<number, number[]>();
  /** Since its size was judged. */
  #asked = 0;
  #found = 0;
  /** Not found, and would have been had the ring been as large as it may be. */
  #missed = 0;
  /** Tags of what went, in the place of their low bits, and the number of the piece that was the first then, in 8 bits. */
  readonly #ghosts = new Int32Array(GHOSTS);
  readonly #went = new Uint8Array(GHOSTS);
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

  /** A copy, as the ring goes on; undefined: it is not here. `check` is asked about what is unchecked: false throws it out. */
  get(owner: number, name: string, check?: (bytes: Buffer) => boolean): Buffer | undefined {
    this.#asked++;
    const tag = tagOf(owner, name, this.#naming);
    const slot = this.#findTag(tag, owner, name);
    if (slot < 0) {
      if (this.#ghosts[tag & (GHOSTS - 1)] === tag && this.#isNear(tag)) this.#missed++;
      return undefined;
    }
    this.#found++;
    const [piece, at] = this.#at(slot);
    const bytes = bytesAt(piece, at);
    const marks = piece[at + MARKS] as number;
    if ((marks & UNCHECKED) !== 0 && check?.(bytes) === false) {
      this.#take(slot);
      return undefined;
    }
    piece[at + MARKS] = USED;
    return bytes;
  }

  has(owner: number, name: string): boolean {
    return this.#find(owner, name) >= 0;
  }

  /** Keeps a copy of what is not here. What is too large is not kept. */
  add(owner: number, name: string, bytes: Uint8Array, unchecked = false): void {
    if (bytes.length > LONGEST || name.length > LONGEST || name.length === 0) return;
    const tag = tagOf(owner, name, this.#naming);
    const slot = this.#findTag(tag, owner, name);
    if (slot < 0) {
      this.#note(tag, this.#write(tag, owner, name, bytes, unchecked));
    } else {
      const [piece, at] = this.#at(slot);
      (piece[at + MARKS] as number) &= ~YIELDS;
    }
  }

  /** Keeps a copy, in the place of what is here where it fits; returns one of what was here. */
  set(owner: number, name: string, bytes: Uint8Array): Buffer | undefined {
    const slot = this.#find(owner, name);
    if (slot < 0) {
      this.add(owner, name, bytes);
      return undefined;
    }
    const [piece, at] = this.#at(slot);
    const before = bytesAt(piece, at);
    const names = piece.readUInt16LE(at + NAMES);
    if (lengthOf(names, bytes.length) === lengthOf(names, before.length)) {
      piece.writeUInt16LE(bytes.length, at + LENGTH);
      (piece[at + MARKS] as number) &= USED;
      piece.set(bytes, at + NAME + names);
      piece.fill(0, at + NAME + names + bytes.length, at + NAME + names + Math.max(bytes.length, before.length));
    } else {
      this.#take(slot);
      this.add(owner, name, bytes);
    }
    return before;
  }

  /** It is hardly of use any more: it stays until something of its length is to be kept, which is written in its place; unless it is asked for before. */
  yield(owner: number, name: string): void {
    const slot = this.#find(owner, name);
    if (slot < 0) return;
    const [piece, at] = this.#at(slot);
    if (((piece[at + MARKS] as number) & YIELDS) !== 0) return;
    (piece[at + MARKS] as number) |= YIELDS;
    const place = (this.#places[slot] as number) - 1;
    const length = lengthAt(piece, at);
    const places = this.#yielding.get(length);
    if (places === undefined) this.#yielding.set(length, [place]);
    else if (places.length < MOST_YIELDING) places.push(place);
  }

  /** Nothing of it stays in this memory. */
  delete(owner: number, name: string): void {
    const slot = this.#find(owner, name);
    if (slot >= 0) this.#take(slot);
  }

  #take(slot: number): void {
    const [piece, at] = this.#at(slot);
    piece.fill(0, at, at + NAMES);
    piece.fill(0, at + MARKS, at + NAME + piece.readUInt16LE(at + NAMES) + piece.readUInt16LE(at + LENGTH));
    this.#places[slot] = GONE;
    this.#tags[slot] = 0;
  }

  /** Where the entry of a slot is. */
  #at(slot: number): [piece: Buffer, at: number] {
    const place = (this.#places[slot] as number) - 1;
    return [this.#piece(place), place % PIECE];
  }

  #piece(place: number): Buffer {
    return this.#pieces[Math.floor((place - this.#start) / PIECE)] as Buffer;
  }

  /** Where it was written. */
  #write(tag: number, owner: number, name: string, bytes: Uint8Array, unchecked: boolean): number {
    const names = this.#naming === "hex" ? name.length / 2 : name.length;
    const length = lengthOf(names, bytes.length);
    const yielded = this.#yielded(length);
    const place = yielded ?? this.#next(length);
    const [piece, at] = [this.#piece(place), place % PIECE];
    piece.writeUInt32LE(owner, at);
    piece.writeInt32LE(tag, at + TAG);
    piece.writeUInt16LE(names, at + NAMES);
    piece.writeUInt16LE(bytes.length, at + LENGTH);
    // The piece of what yielded may be the next to be used again.
    piece[at + MARKS] = (unchecked ? UNCHECKED : 0) | (yielded === undefined ? 0 : USED);
    piece.write(name, at + NAME, names, this.#naming);
    piece.set(bytes, at + NAME + names);
    return place;
  }

  /** The place of an entry that yields, and is gone now. */
  #yielded(length: number): number | undefined {
    const places = this.#yielding.get(length);
    for (let place = places?.pop(); place !== undefined; place = places?.pop()) {
      if (place < this.#start) continue;
      const [piece, at] = [this.#piece(place), place % PIECE];
      if (((piece[at + MARKS] as number) & YIELDS) === 0) continue;
      this.#take(this.#slotOf(place, piece.readInt32LE(at + TAG)));
      return place;
    }
    return undefined;
  }

  /** A place behind all others. */
  #next(length: number): number {
    if ((this.#end % PIECE) + length > PIECE) this.#end = Math.ceil(this.#end / PIECE) * PIECE;
    if (this.#end % PIECE === 0) this.#begin();
    const place = this.#end;
    this.#end += length;
    return place;
  }

  /** A piece for what comes next: another one, or the oldest, of which what was used stays. */
  #begin(): void {
    const room = this.#judge();
    if (this.#pieces.length < room) {
      this.#pieces.push(Buffer.alloc(PIECE));
      return;
    }
    while (this.#pieces.length > room) {
      this.#pieces.shift()?.fill(0);
      this.#start += PIECE;
    }
    const from = this.#start;
    const oldest = this.#pieces.shift() as Buffer;
    this.#start += PIECE;
    this.#pieces.push(oldest);
    this.#end += this.#keepUsed(oldest, from, this.#end);
  }

  /** Moves what was used to the front of a piece, which is at another place now; returns its bytes. */
  #keepUsed(piece: Buffer, from: number, to: number): number {
    let kept = 0;
    let length: number;
    for (let at = 0; at + NAME <= PIECE && piece.readUInt16LE(at + NAMES) > 0; at += length) {
      length = lengthAt(piece, at);
      const marks = piece[at + MARKS] as number;
      if ((marks & (USED | YIELDS)) !== USED || kept + length > MOST_KEPT) {
        if ((marks & YIELDS) === 0) this.#remember(piece.readInt32LE(at + TAG));
        continue;
      }
      piece[at + MARKS] = marks & UNCHECKED;
      this.#places[this.#slotOf(from + at, piece.readInt32LE(at + TAG))] = to + kept + 1;
      piece.copyWithin(kept, at, at + length);
      kept += length;
    }
    piece.fill(0, kept);
    return kept;
  }

  /** It goes. */
  #remember(tag: number): void {
    this.#ghosts[tag & (GHOSTS - 1)] = tag;
    this.#went[tag & (GHOSTS - 1)] = this.#start / PIECE;
  }

  /** Whether what went would be here if the ring were as large as it may be. */
  #isNear(tag: number): boolean {
    const since = (this.#start / PIECE - (this.#went[tag & (GHOSTS - 1)] as number)) & 0xff;
    return since <= this.#most - this.#pieces.length;
  }

  /** How many pieces there are to be. */
  #judge(): number {
    const { length } = this.#pieces;
    if (length < this.#least) return length + 1;
    if (this.#asked < SAMPLE) return length;
    const [rate, whole] = [this.#found / this.#asked, (this.#found + this.#missed) / this.#asked];
    this.#asked = 0;
    this.#found = 0;
    this.#missed = 0;
    const worth = Math.min(length * WORTH_A_MB, WORTH);
    if (rate >= worth || whole >= WORTH) return Math.min(length + 1, this.#most);
    return rate < worth / 2 ? Math.max(length - 1, this.#least) : length;
  }

  /** The slot of an entry; -1: there is none. */
  #find(owner: number, name: string): number {
    return this.#findTag(tagOf(owner, name, this.#naming), owner, name);
  }

  #findTag(tag: number, owner: number, name: string): number {
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

  /** The slot of the entry at a place. */
  #slotOf(place: number, tag: number): number {
    const mask = this.#tags.length - 1;
    let slot = tag & mask;
    while (this.#places[slot] !== place + 1) slot = (slot + 1) & mask;
    return slot;
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

/** FNV-1a of both: many owners may have one name. */
function tagOf(owner: number, name: string, naming: Naming): number {
  let tag = Math.imul(0x811c9dc5 ^ owner, 0x01000193);
  for (let i = naming === "hex" ? name.length - 16 : 0; i < name.length; i++) {
    tag = Math.imul(tag ^ name.charCodeAt(i), 0x01000193);
  }
  // Its low bits alone are not good enough.
  return tag ^ (tag >>> 15);
}

/** What an entry holds: a copy. */
function bytesAt(piece: Buffer, at: number): Buffer {
  const start = at + NAME + piece.readUInt16LE(at + NAMES);
  return Buffer.from(piece.subarray(start, start + piece.readUInt16LE(at + LENGTH)));
}

function lengthAt(piece: Buffer, at: number): number {
  return lengthOf(piece.readUInt16LE(at + NAMES), piece.readUInt16LE(at + LENGTH));
}

/** Of an entry, with its room. */
function lengthOf(names: number, bytes: number): number {
  return Math.ceil((NAME + names + bytes + ROOM) / STEP) * STEP;
}
