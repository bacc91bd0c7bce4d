import { closeSync, openSync, statSync, writeSync } from "node:fs";

/** Bytes that a page takes in the log. */
const FRAME = 24 + 4096;
/** It grows by as much as it has, between these. */
const LEAST = 64 * 1024;
const MOST = 512 * 1024;
/** One that is larger is in use under load, and begins anew before long. */
const LARGE = 64 << 20;
const ZEROS = Buffer.alloc(MOST);

/**
 * Room at the end of SQLite's log: an fsync of a file that has grown waits for the file system's own log too, and takes twice as long.
 * Who reads the log stops at the first frame that is none of it, as what is left of an older log is behind it, too.
 */
export class LogRoom {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** @param pages of the log that are in use */
  isScarce(pages: number): boolean {
    const size = this.#size();
    return size > 0 && size < LARGE && size - pages * FRAME < Math.min(MOST, size) / 4;
  }

  /** While nobody appends to it. */
  grow(): void {
    const size = this.#size();
    let file: number | null = null;
    try {
      file = openSync(this.#path, "r+");
      writeSync(file, ZEROS, 0, Math.min(MOST, Math.max(LEAST, size)), size);
    } catch {
      // The disk is full, say: who needs the room is told, when it does.
    } finally {
      if (file !== null) closeSync(file);
    }
  }

  #size(): number {
    return statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0;
  }
}
