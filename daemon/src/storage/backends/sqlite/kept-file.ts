import { closeSync, fdatasyncSync, fstatSync, ftruncateSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { crc32 } from "node:zlib";
import { decodeBody, encodeBody, type Hash, refuseNewerFormat, VlinderError } from "@vlinder/protocol";
import type { Kept, KeptTransaction } from "../../object-storage.ts";

/*
 * Transactions that are to be applied later, as the next opening finds them when this process ends before: in pages of the system,
 * which outlive a process, without an fsync. One after another from the start of the file; when none is needed any more it begins
 * anew. A record, little-endian:
 *
 *   u32 length, u8 version (0: not needed any more, and its bytes are zeros), u32 CRC-32 of the rest, the transaction as MessagePack
 */
const HEAD = 9;
const VERSION = 1;
/** Larger ones are applied at once. */
const MOST_EACH = 64 * 1024;
const MOST = 1024 * 1024;

export class KeptFile {
  readonly #path: string;
  #file: number | null = null;
  #end = 0;
  #count = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Null: it has no room, or the disk has none. */
  keep(transaction: KeptTransaction): Kept | null {
    const body = encodeBody(transaction, "msgpack");
    const size = HEAD + body.length;
    if (size > MOST_EACH || this.#end + size > MOST) return null;
    const record = Buffer.alloc(size);
    record.writeUInt32LE(body.length, 0);
    record[4] = VERSION;
    record.writeUInt32LE(crc32(body), 5);
    record.set(body, HEAD);
    const at = this.#end;
    try {
      this.#file ??= openSync(this.#path, "wx", 0o600);
      if (writeSync(this.#file, record, 0, size, at) < size) throw new Error("a part of it");
    } catch {
      this.#cut(at);
      return null;
    }
    this.#end += size;
    this.#count++;
    let isThere = true;
    const drop = (): void => {
      if (isThere) this.#drop(at, body.length);
      isThere = false;
    };
    return { drop };
  }

  /** What is in the file of a process that has ended. @throws invalid: of a newer release */
  static left(path: string): KeptTransaction[] {
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
    const found: KeptTransaction[] = [];
    for (let at = 0; at + HEAD < bytes.length;) {
      const length = bytes.readUInt32LE(at);
      const body = bytes.subarray(at + HEAD, at + HEAD + length);
      const version = bytes[at + 4];
      // Behind the last one is what is left of older ones.
      if (length === 0 || body.length < length) break;
      refuseNewerFormat(path, version, VERSION);
      if (version === VERSION) {
        if (crc32(body) !== bytes.readUInt32LE(at + 5)) break;
        found.push(decodeBody(body) as unknown as KeptTransaction);
      }
      at += HEAD + length;
    }
    return found;
  }

  /** What was dropped is so after a power cut, too. */
  sync(): void {
    if (this.#file !== null) fdatasyncSync(this.#file);
  }

  close(): void {
    if (this.#file === null) return;
    // Another process that has opened the database may have taken it away, and made its own.
    const isOurs = fstatSync(this.#file).nlink > 0;
    closeSync(this.#file);
    this.#file = null;
    if (isOurs && this.#count === 0) rmSync(this.#path, { force: true });
  }

  /** No part of what found no room stays. */
  #cut(at: number): void {
    try {
      if (this.#file !== null) ftruncateSync(this.#file, at);
    } catch {
      // The disk fails: the next record is written over it.
    }
  }

  /** Its bytes must not stay readable: what is erased later may be among them. */
  #drop(at: number, length: number): void {
    this.#count--;
    if (this.#file === null) return;
    const zeros = Buffer.alloc(HEAD + length);
    zeros.writeUInt32LE(length, 0);
    try {
      writeSync(this.#file, zeros, 0, zeros.length, at);
    } catch {
      // The disk fails. Where its commit is stored, the next opening sees that it is not needed.
    }
    if (this.#count === 0) this.#end = 0;
  }
}

/** Beside a database. */
export function keptPath(path: string): string {
  return `${path}-kept`;
}

export function unknownBase(path: string, base: Hash): VlinderError {
  return new VlinderError("not_found", `${path} has a transaction on a commit that is not in the database: ${base}`, {
    remedy: "nothing: the database beside it was replaced, and it belongs to the one before",
  });
}

export function notAppliedYet(path: string, cause: unknown): VlinderError {
  return new VlinderError("unavailable", `${path} can't be applied: ${String(cause)}`, {
    remedy: "mend that and start the daemon again: what began before it was stopped is shown then, as failed turns",
    cause,
  });
}
