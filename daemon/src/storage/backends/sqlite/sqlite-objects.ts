import { readdir, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Hash, hashFromBytes, hashToBytes, ownBuffer, VlinderError } from "@vlinder/protocol";
import {
  type Neighbour,
  BranchConflict,
  type Kept,
  type KeptTransaction,
  type Kind,
  KINDS,
  type Lineage,
  type Moves,
  type ObjectName,
  type ObjectStorage,
  type ReaderAddress,
  type ReflogEntry,
  type StoredBranch,
  type StoredNote,
  type StoredObject,
  type StoredReply,
  type Transaction,
  type Usage,
} from "../../object-storage.ts";
import { UnderWay } from "../../../under-way.ts";
import { Bases } from "./bases.ts";
import { blocksOf, type NewBlocks } from "./blocks-of.ts";
import type { WriterOptions } from "./connection.ts";
import { KeptFile, keptPath, notAppliedYet, unknownBase } from "./kept-file.ts";
import { packTransaction } from "./packed-transaction.ts";
import { hashPrefix, type PrefixTable } from "./prefix-table.ts";
import { Reader } from "./reader.ts";
import { replyKey } from "./reply-key.ts";
import { REPLY_SHELF } from "./shelves.ts";
import { errorOf } from "./storage-error.ts";
import { WriterConnection } from "./writer-connection.ts";

export interface SqliteOptions extends WriterOptions {
  /** What `uri` shows; absent: `sqlite://` and the path. */
  readonly uri?: string;
  /** Told of what went wrong in the background and lost nothing: a log that could not be moved into the file. */
  readonly warn?: (error: VlinderError) => void;
  /** Told in a sentence what opening does to a file of an older version. */
  readonly notice?: (message: string) => void;
}

/** Blocks of replies that one transaction drops: more would keep writes waiting. */
const DROP_STEP = 500;
/** How often a transaction is made anew when other processes write meanwhile; then it is applied all the same. */
const BEHIND_ATTEMPTS = 5;
/** How often the end of other reads is waited for. */
const RECLAIM_ATTEMPTS = 5;
/** Behind the database's name, as migrate.ts names them. */
const COPY = /^\.v\d+-backup(?:\.partial(?:-journal)?)?$/;

/**
 * Opens the database at a path, making it where there is none. One process at a time.
 * @throws unavailable; invalid: not a database of vlinder, or of a newer version
 */
export async function openSqliteObjects(options: SqliteOptions): Promise<ObjectStorage> {
  const { uri, warn, notice, ...writing } = options;
  const { path } = options;
  const writer = new WriterConnection(
    writing,
    (failure) => warn?.(errorOf(failure, path)),
    (message) => notice?.(message),
  );
  let view: number;
  try {
    view = await writer.open();
  } catch (error) {
    await writer.close();
    throw error;
  }
  const objects = new SqliteObjects(uri ?? `sqlite://${path}`, path, writer, view);
  await objects.applyLeft((failure) => warn?.(failure));
  return objects;
}

class SqliteObjects implements ObjectStorage {
  readonly uri: string;
  readonly readerAddress: ReaderAddress;
  readonly keepsCopies = true;
  readonly #path: string;
  readonly #writer: WriterConnection;
  readonly #reader: Reader;
  readonly #kept: KeptFile;
  readonly #bases = new Bases();
  /** Hash prefixes of transactions that are under way. */
  readonly #underWay = new UnderWay<PrefixTable>();
  /** Work that must not overlap with what is under way, one after another; what is asked for later waits for it. */
  #alone: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  /** The last of what is made anew, one after another in the order in which it was asked for. */
  #behind: Promise<unknown> = Promise.resolve();
  /** What this process knows of the file is so in this view of the writer's. */
  #view: number;
  readonly #pending = new UnderWay<Promise<unknown>>();
  #closing: Promise<void> | null = null;

  constructor(uri: string, path: string, writer: WriterConnection, view: number) {
    this.uri = uri;
    this.readerAddress = { scheme: "sqlite", path };
    this.#path = path;
    this.#writer = writer;
    this.#reader = new Reader(path);
    this.#kept = new KeptFile(keptPath(path));
    this.#view = view;
  }

  async read(kind: Kind, hashes: readonly Hash[]): Promise<(Uint8Array | null)[]> {
    this.#open();
    return hashes.map((hash) => this.readNow(kind, hash));
  }

  readNow(kind: Kind, hash: Hash, lineage?: Lineage, beside?: Neighbour): Uint8Array | null {
    const found = this.#open().find(KINDS.indexOf(kind), hashToBytes(hash));
    if (found === null) return null;
    if (beside !== undefined) this.#reader.tellBeside(found.location, beside);
    if (lineage === undefined || found.base.bytes.length === 0) return found.bytes;
    // A copy, as it is a part of a block or of a pool; whoever keeps it shares it.
    const bytes = ownBuffer(found.bytes);
    this.#bases.noteRead(lineage, found, bytes);
    return bytes;
  }

  async apply(transaction: Transaction): Promise<void> {
    this.#open();
    const apply = (): Promise<void> => this.#track(this.#apply(transaction));
    return await (this.#waiting > 0 || this.#overlaps(transaction) ? this.#exclusively(apply) : apply());
  }

  keep(transaction: KeptTransaction): Kept | null {
    this.#open();
    return this.#kept.keep(transaction);
  }

  /** Applies what a process has kept that ended before it could. What can't be stored now stays there, for the next opening. */
  async applyLeft(warn: (failure: VlinderError) => void): Promise<void> {
    const path = keptPath(this.#path);
    try {
      for (const { commit, base, ...rest } of KeptFile.left(path)) {
        if (this.readNow("commit", commit) !== null) continue;
        if (this.readNow("commit", base) !== null) await this.apply({ ...rest, branches: [] });
        else warn(unknownBase(path, base));
      }
      await rm(path, { force: true });
    } catch (error) {
      warn(notAppliedYet(path, error));
    }
  }

  /** Whether what is under way may have an object of it: whether it is stored depends on what becomes of that. */
  #overlaps({ objects, replies }: Transaction): boolean {
    if (this.#underWay.size === 0) return false;
    const tables = [...this.#underWay];
    const isUnderWay = (hash: Hash): boolean => {
      const prefix = Number.parseInt(hash.slice(0, 12), 16);
      return tables.some((table) => table.has(prefix));
    };
    return objects.some(({ hash }) => isUnderWay(hash)) || replies.some(({ id }) => isUnderWay(replyKey(id)));
  }

  async #apply(transaction: Transaction): Promise<void> {
    const view = await this.#attempt(transaction, this.#view);
    if (view === null) return;
    this.#see(view);
    const turn = this.#behind.then(() => this.#makeAnew(transaction));
    this.#behind = turn.catch(() => {});
    await turn;
  }

  async #makeAnew(transaction: Transaction): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const view = await this.#attempt(transaction, attempt < BEHIND_ATTEMPTS ? this.#view : null);
      if (view === null) return;
      this.#see(view);
    }
  }

  /** Another process may have stored something, or removed it: by what was known before, it would be there twice, or not at all. */
  #see(view: number): void {
    if (view === this.#view) return;
    this.#view = view;
    this.#bases.clear();
    this.#reader.lookAgain();
    // All that is under way is made anew: what is asked for from now on comes behind that.
    void this.#exclusively(async () => {});
  }

  /** Null: it is applied; else the view to make it by. */
  async #attempt({ objects, branches, replies, notes = [] }: Transaction, view: number | null): Promise<number | null> {
    const { blocks, prefixes } = blocksOf(objects, replies, this.#reader.stored(this.#bases));
    const packed = packTransaction(blocks, branches, notes);
    this.#underWay.add(prefixes);
    try {
      const { outcome } = await this.#writer.call({ op: "apply", packed, view }, packed);
      this.#reader.leaveSnapshot();
      if (outcome === null || "failure" in outcome) throw this.#unanswered();
      if ("conflict" in outcome) {
        throw new BranchConflict(outcome.conflict.branch as Hash, outcome.conflict.actual as Hash | null);
      }
      if ("behind" in outcome) return outcome.behind;
      if (blocks.length > 0) this.#landed(outcome.first, blocks);
      return null;
    } catch (error) {
      // It may be stored all the same.
      if (!(error instanceof BranchConflict)) this.#reader.lookAgain();
      throw error;
    } finally {
      this.#underWay.delete(prefixes);
    }
  }

  /** A transaction of which the writer does not say that it is stored counts as not stored. */
  #unanswered(): VlinderError {
    return new VlinderError("unavailable", `the writer of ${this.#path} did not say what became of a transaction`, {
      remedy: "try again; if it stays so, restart vlinderd and report it with the daemon's log",
    });
  }

  #landed(first: number, blocks: NewBlocks["blocks"]): void {
    this.#reader.landed(first, blocks);
    this.#bases.landed(first, blocks);
  }

  #track<T>(work: Promise<T>): Promise<T> {
    const tracked = work.finally(() => this.#pending.delete(tracked));
    this.#pending.add(tracked);
    return tracked;
  }

  /** Waits until nothing is under way, and lets nothing begin until `work` is done. */
  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    this.#waiting++;
    const turn = this.#alone.then(async () => {
      await Promise.allSettled(this.#pending);
      try {
        return await work();
      } finally {
        this.#waiting--;
      }
    });
    this.#alone = turn.catch(() => {});
    return turn;
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
    return this.replyNow(id);
  }

  replyNow(id: string): StoredReply | null {
    const reader = this.#open();
    const key = hashToBytes(replyKey(id));
    // Nearly every request is new. Replies to it are given, and kept, by the process that it is sent to.
    if (reader.surelyLacks(hashPrefix(key))) return null;
    const bytes = reader.find(REPLY_SHELF, key)?.bytes;
    if (bytes === undefined) return null;
    return { id, time: bytes.readDoubleLE(0), request: hashFromBytes(bytes, 8), reply: bytes.toString("utf8", 40) };
  }

  async dropReplies(before: number): Promise<void> {
    let looked = DROP_STEP;
    while (looked === DROP_STEP) {
      this.#open();
      looked = await this.#exclusively(async () => {
        const { count } = await this.#writer.call({ op: "dropReplies", before, limit: DROP_STEP });
        this.#reader.removed();
        return count;
      });
    }
  }

  async scan(kind: Kind, after: Hash | null, limit: number): Promise<StoredObject[]> {
    return this.#open().scan(kind, after, limit);
  }

  sweep(kinds: readonly Kind[]): AsyncIterable<readonly StoredObject[]> {
    return this.#open().sweep(kinds);
  }

  names(kind: Kind): AsyncIterable<readonly ObjectName[]> {
    return this.#open().names(kind);
  }

  async remove(kind: Kind, hashes: readonly Hash[]): Promise<void> {
    this.#open();
    await this.#exclusively(async () => {
      const shelf = KINDS.indexOf(kind);
      const found = hashes.map((hash) => this.#reader.find(shelf, hashToBytes(hash))?.location);
      const locations = Float64Array.from(found.filter((location) => location !== undefined));
      await this.#writer.call({ op: "remove", locations });
      this.#bases.clear();
      this.#reader.removed();
    });
  }

  async reclaim(bytes: number): Promise<number> {
    while ((await this.#step({ op: "dropBases" })) > 0);
    for (let attempt = 1; attempt <= RECLAIM_ATTEMPTS; attempt++) {
      const count = await this.#step({ op: "reclaim", bytes });
      if (count === 0) this.#kept.sync();
      if (count >= 0) return count;
      await sleep(20 * attempt);
    }
    throw new VlinderError("unavailable", `another program reads ${this.#path}: its log can't be emptied`, {
      remedy: "close what else has the file open, and ask again",
    });
  }

  /** What was there before a migration. */
  async dropCopies(): Promise<string[]> {
    this.#open();
    const [folder, name] = [dirname(this.#path), basename(this.#path)];
    const copies = (await readdir(folder)).filter(
      (file) => file.startsWith(name) && COPY.test(file.slice(name.length)),
    );
    const paths = copies.sort().map((copy) => join(folder, copy));
    for (const path of paths) await rm(path, { force: true });
    return paths;
  }

  /** Between what others store; they wait for the step. */
  #step(work: { op: "dropBases" } | { op: "reclaim"; bytes: number }): Promise<number> {
    this.#open();
    return this.#exclusively(async () => {
      this.#bases.clear();
      this.#reader.removed();
      return (await this.#writer.call(work)).count;
    });
  }

  async usage(): Promise<Usage> {
    const counts = this.#open().counts();
    const sizes = await Promise.all([this.#path, `${this.#path}-wal`].map(sizeOf));
    return { bytes: sizes.reduce((sum, size) => sum + size, 0), counts };
  }

  close(): Promise<void> {
    if (this.#closing === null) {
      const begun = this.#waiting > 0 ? this.#alone : Promise.allSettled(this.#pending);
      this.#reader.close();
      this.#closing = begun
        .then(() => this.#writer.close())
        .finally(() => {
          this.#reader.close();
          this.#kept.close();
        });
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
