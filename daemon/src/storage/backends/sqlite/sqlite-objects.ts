import { stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { type Hash, hashFromBytes, VlinderError } from "@vlinder/protocol";
import {
  BranchConflict,
  type Kind,
  KINDS,
  type Moves,
  type ObjectName,
  type ObjectStorage,
  type ReflogEntry,
  type StoredBranch,
  type StoredNote,
  type StoredObject,
  type StoredReply,
  type Transaction,
  type Usage,
} from "../../object-storage.ts";
import type { WriterOptions } from "./connection.ts";
import { packTransaction, replyKey } from "./packed-transaction.ts";
import { Reader } from "./reader.ts";
import { errorOf } from "./storage-error.ts";
import { WriterConnection } from "./writer-connection.ts";

export interface SqliteOptions extends WriterOptions {
  /** What `uri` shows; absent: `sqlite://` and the path. */
  readonly uri?: string;
  /** Told of what went wrong in the background and lost nothing: a log that could not be moved into the file. */
  readonly warn?: (error: VlinderError) => void;
}

/** Replies dropped in one transaction: more would keep writes waiting. */
const DROP_STEP = 2000;
/** How often the end of other reads is waited for. */
const RECLAIM_ATTEMPTS = 5;

/**
 * Opens the database at a path, making it where there is none. One process at a time.
 * @throws unavailable; invalid: not a database of vlinder, or of a newer version
 */
export async function openSqliteObjects(options: SqliteOptions): Promise<ObjectStorage> {
  const { path, durability, maxPages, warn } = options;
  const writer = new WriterConnection(
    { path, durability, ...(maxPages === undefined ? {} : { maxPages }) },
    (failure) => warn?.(errorOf(failure, path)),
  );
  try {
    await writer.open();
  } catch (error) {
    await writer.close();
    throw error;
  }
  return new SqliteObjects(options.uri ?? `sqlite://${path}`, path, writer);
}

class SqliteObjects implements ObjectStorage {
  readonly uri: string;
  readonly #path: string;
  readonly #writer: WriterConnection;
  readonly #reader: Reader;
  #closing: Promise<void> | null = null;

  constructor(uri: string, path: string, writer: WriterConnection) {
    this.uri = uri;
    this.#path = path;
    this.#writer = writer;
    this.#reader = new Reader(path);
  }

  async read(kind: Kind, hashes: readonly Hash[]): Promise<(Uint8Array | null)[]> {
    return this.#open().objects(kind, hashes);
  }

  async apply(transaction: Transaction): Promise<void> {
    this.#open();
    const packed = packTransaction(transaction);
    const { outcome } = await this.#writer.call({ op: "apply", packed }, packed);
    this.#reader.leaveSnapshot();
    if (outcome !== null && "conflict" in outcome) {
      throw new BranchConflict(outcome.conflict.branch as Hash, outcome.conflict.actual as Hash | null);
    }
  }

  async branches(): Promise<StoredBranch[]> {
    return this.#open().branches();
  }

  async reflog(branch: Hash | null, limit: number): Promise<ReflogEntry[]> {
    return this.#open().reflog(branch, limit);
  }

  async moves(after: number, limit: number): Promise<Moves> {
    return this.#open().moves(after, limit);
  }

  async notes(prefix: string): Promise<StoredNote[]> {
    return this.#open().notes(prefix);
  }

  async reply(id: string): Promise<StoredReply | null> {
    const row = this.#open().reply(replyKey(id));
    if (row === null) return null;
    return { id, request: hashFromBytes(row.data), reply: row.data.toString("utf8", 32), time: row.time };
  }

  async dropReplies(before: number): Promise<void> {
    let dropped = DROP_STEP;
    while (dropped === DROP_STEP) {
      this.#open();
      ({ count: dropped } = await this.#writer.call({ op: "dropReplies", before, limit: DROP_STEP }));
      this.#reader.leaveSnapshot();
    }
  }

  async scan(kind: Kind, after: Hash | null, limit: number): Promise<StoredObject[]> {
    return this.#open().scan(kind, after, limit);
  }

  async names(kind: Kind, after: Hash | null, limit: number): Promise<ObjectName[]> {
    return this.#open().names(kind, after, limit);
  }

  async remove(kind: Kind, hashes: readonly Hash[]): Promise<void> {
    this.#open();
    const packed = new ArrayBuffer(32 * hashes.length);
    const bytes = Buffer.from(packed);
    for (const [index, hash] of hashes.entries()) bytes.write(hash, 32 * index, 32, "hex");
    await this.#writer.call({ op: "remove", shelf: KINDS.indexOf(kind), hashes: packed }, packed);
    this.#reader.leaveSnapshot();
  }

  async reclaim(bytes: number): Promise<number> {
    for (let attempt = 1; attempt <= RECLAIM_ATTEMPTS; attempt++) {
      this.#open().leaveSnapshot();
      const { count } = await this.#writer.call({ op: "reclaim", bytes });
      if (count >= 0) return count;
      await sleep(20 * attempt);
    }
    throw new VlinderError("unavailable", `another program reads ${this.#path}: its log can't be emptied`, {
      remedy: "close what else has the file open, and ask again",
    });
  }

  async usage(): Promise<Usage> {
    const counts = this.#open().counts();
    const sizes = await Promise.all([this.#path, `${this.#path}-wal`].map(sizeOf));
    return { bytes: sizes.reduce((sum, size) => sum + size, 0), counts };
  }

  close(): Promise<void> {
    if (this.#closing === null) {
      this.#reader.close();
      this.#closing = this.#writer.close();
    }
    return this.#closing;
  }

  #open(): Reader {
    if (this.#closing === null) return this.#reader;
    throw new VlinderError("unavailable", `${this.uri} is closed`, { remedy: "open it again" });
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}
