import { type ChunkListPart, encodeChunkList, type Hash, LIST_ENTRIES, sha256 } from "@vlinder/protocol";
import type { StoredObject } from "../storage/object-storage.ts";

/** Entries that a list has at least, its level's last one apart. */
const MIN_ENTRIES = 16;
/** A list ends behind a part whose hash begins with a byte below it: one in 64. */
const ENDS_BELOW = 4;

/**
 * Chunk lists, built as the parts come. Where a list ends is decided by the hash of its last part, as a
 * chunk's end is by its bytes: so of a value that grows, and of one that changed in the middle, only a
 * list or two of each level are new. (Cut by count, one chunk more would shift all the lists behind it.)
 */
export class ListBuilder {
  readonly #levels: ChunkListPart[][] = [[]];

  /** Adds the next part; returns the lists that it ends. */
  add(part: ChunkListPart): StoredObject[] {
    const lists: StoredObject[] = [];
    this.#add(part, 0, lists);
    return lists;
  }

  /** The lists that are left; the last one is the top, and lies under the value's hash. */
  finish(value: Hash): StoredObject[] {
    const lists: StoredObject[] = [];
    for (let i = 0; i < this.#levels.length - 1; i++) if (this.#parts(i).length > 0) this.#close(i, lists);
    const top = this.#levels.length;
    lists.push({ kind: "list", hash: value, bytes: encodeChunkList({ level: top, parts: this.#parts(top - 1) }) });
    return lists;
  }

  #parts(index: number): ChunkListPart[] {
    return (this.#levels[index] ??= []);
  }

  #add(part: ChunkListPart, index: number, lists: StoredObject[]): void {
    const parts = this.#parts(index);
    parts.push(part);
    const ends = parts.length >= MIN_ENTRIES && Number.parseInt(part.hash.slice(0, 2), 16) < ENDS_BELOW;
    if (ends || parts.length === LIST_ENTRIES) this.#close(index, lists);
  }

  #close(index: number, lists: StoredObject[]): void {
    const parts = this.#parts(index);
    this.#levels[index] = [];
    const bytes = encodeChunkList({ level: index + 1, parts });
    const hash = sha256(bytes);
    lists.push({ kind: "list", hash, bytes });
    this.#add({ hash, size: parts.reduce((sum, { size }) => sum + size, 0) }, index + 1, lists);
  }
}
