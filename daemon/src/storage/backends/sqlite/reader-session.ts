import type Database from "better-sqlite3";
import { hashFromBytes } from "@vlinder/protocol";
import { KINDS, type Neighbour } from "../../object-storage.ts";
import {
  applyDelta,
  baseOf,
  type Block,
  SLOT,
  SLOT_BYTES,
  slotCount,
  slotData,
  slotFlags,
  slotHas,
  slotHash,
  slotLength,
} from "./block.ts";
import { openForReading } from "./connection.ts";
import { IndexReader } from "./index-reader.ts";
import { blockOf, locationOf, shelfOf, slotOf } from "./location.ts";
import { hashPrefix } from "./prefix-table.ts";

/** An object as it was found. `base`: what it is a delta on, or itself; without bytes where that is not there. */
export interface Found {
  readonly bytes: Buffer;
  readonly location: number;
  readonly base: { readonly location: number; readonly bytes: Buffer };
  readonly delta: Buffer | null;
}

const COMMIT_SHELF = KINDS.indexOf("commit");

/** A connection with all that is prepared on it. */
export class ReaderSession {
  readonly db: Database.Database;
  readonly index: IndexReader;
  readonly begin: Database.Statement<[]>;
  readonly commit: Database.Statement<[]>;
  /** Blocks from an id on. */
  readonly heads: Database.Statement<[number], [id: number, head: Buffer]>;
  readonly #version: Database.Statement<[], number>;
  readonly #block: Database.Statement<[number], Block>;
  #seenVersion = -1;
  /** The block in which a commit was found last. */
  #lastCommits: number | null = null;
  /** Of this snapshot, since what is read together often lies together: a block in the place of its id, until another has the same. */
  readonly #blocks: ({ readonly id: number; readonly block: Block } | undefined)[];

  constructor(path: string, blocksKept: number) {
    this.#blocks = Array.from({ length: blocksKept });
    this.db = openForReading(path);
    this.index = new IndexReader(this.db);
    this.begin = this.db.prepare("BEGIN");
    this.commit = this.db.prepare("COMMIT");
    this.#version = this.db.prepare<[], number>("PRAGMA data_version").pluck();
    this.heads = this.db
      .prepare<[number], [number, Buffer]>("SELECT id, head FROM block WHERE id >= ? ORDER BY id")
      .raw();
    this.#block = this.db.prepare("SELECT head, data FROM block WHERE id = ?");
  }

  refresh(): void {
    const version = this.#version.get() ?? 0;
    if (version === this.#seenVersion) return;
    this.#blocks.fill(undefined);
    this.index.refresh();
    this.#seenVersion = version;
  }

  find(shelf: number, hash: Buffer, prefix = hashPrefix(hash)): Found | null {
    if (shelf === COMMIT_SHELF && this.#lastCommits !== null) {
      const last = this.#lastCommits;
      const near = this.#findIn(last, shelf, hash) ?? this.#findIn(last - 1, shelf, hash);
      if (near !== null) {
        this.#lastCommits = blockOf(near.location);
        return near;
      }
    }
    const found = this.#find(shelf, hash, prefix);
    // A commit's parent mostly lies in the same block or the one before: who follows a history need not look it up.
    if (shelf === COMMIT_SHELF && found !== null) this.#lastCommits = blockOf(found.location);
    return found;
  }

  #findIn(id: number, shelf: number, hash: Buffer): Found | null {
    const block = this.block(id);
    if (block === undefined) return null;
    for (let slot = slotCount(block) - 1; slot >= 0; slot--) {
      if (block.head[slot * SLOT_BYTES + 1] !== hash[0] || !slotHas(block.head, slot, hash)) continue;
      const flags = slotFlags(block.head, slot);
      if ((flags & SLOT.removed) !== 0 || (flags & SLOT.shelf) !== shelf) continue;
      return this.#object(locationOf(id, slot, shelf), flags, slotData(block, slot));
    }
    return null;
  }

  #find(shelf: number, hash: Buffer, prefix: number): Found | null {
    for (const location of this.index.candidates(prefix)) {
      if (shelfOf(location) !== shelf) continue;
      const found = this.at(location, shelf, hash);
      if (found !== null) return found;
    }
    return null;
  }

  /** An object at a location, if it is there. */
  at(location: number, shelf: number, hash: Buffer): Found | null {
    const block = this.block(blockOf(location));
    const slot = slotOf(location);
    if (block === undefined || slot >= slotCount(block) || !slotHas(block.head, slot, hash)) return null;
    const flags = slotFlags(block.head, slot);
    if ((flags & SLOT.removed) !== 0 || (flags & SLOT.shelf) !== shelf) return null;
    return this.#object(location, flags, slotData(block, slot));
  }

  bytesAt(block: Block, slot: number): Buffer {
    return this.#object(0, slotFlags(block.head, slot), slotData(block, slot)).bytes;
  }

  /** Tells of what else of its shelf is in an object's block. */
  beside(location: number, tell: Neighbour): void {
    const block = this.block(blockOf(location));
    if (block === undefined) return;
    const [shelf, own] = [shelfOf(location), slotOf(location)];
    let start = 0;
    for (let slot = 0; slot < slotCount(block); slot++) {
      const [flags, length] = [slotFlags(block.head, slot), slotLength(block.head, slot)];
      if (slot !== own && (flags & (SLOT.shelf | SLOT.removed | SLOT.delta)) === shelf) {
        tell(hashFromBytes(slotHash(block.head, slot)), block.data.subarray(start, start + length));
      }
      start += length;
    }
  }

  block(id: number): Block | undefined {
    const place = id % this.#blocks.length;
    const known = this.#blocks[place];
    if (known?.id === id) return known.block;
    const block = this.#block.get(id);
    if (block !== undefined) this.#blocks[place] = { id, block };
    return block;
  }

  #object(location: number, flags: number, data: Buffer): Found {
    if ((flags & SLOT.delta) === 0) return { bytes: data, location, base: { location, bytes: data }, delta: null };
    const at = baseOf(data);
    const block = this.block(blockOf(at));
    // Without its base it is damaged, and its hash will say so.
    const bytes = block === undefined ? Buffer.alloc(0) : slotData(block, slotOf(at));
    const whole = bytes.length === 0 ? bytes : applyDelta(bytes, data);
    return { bytes: whole, location, base: { location: at, bytes }, delta: data };
  }
}
