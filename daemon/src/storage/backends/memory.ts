import { type Hash, VlinderError } from "@vlinder/protocol";
import {
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
} from "../object-storage.ts";
import { checkMoves, movedBranch } from "../branch-moves.ts";
import { reflogTime } from "./reflog-time.ts";

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const PAGE = 1000;

/** Object storage for tests and throw-away agents: nothing is left of it after `close`. */
export class MemoryObjects implements ObjectStorage {
  readonly uri: string;
  readonly #objects = new Map<Kind, Map<Hash, Uint8Array>>(KINDS.map((kind) => [kind, new Map()]));
  readonly #branches = new Map<Hash, StoredBranch>();
  readonly #reflog: ReflogEntry[] = [];
  readonly #replies = new Map<string, StoredReply>();
  readonly #notes = new Map<string, Uint8Array>();
  #closed = false;

  constructor(uri: string) {
    this.uri = uri;
  }

  async read(kind: Kind, hashes: readonly Hash[]): Promise<(Uint8Array | null)[]> {
    const objects = this.#of(kind);
    return hashes.map((hash) => objects.get(hash) ?? null);
  }

  async apply({ objects, branches, replies, notes = [] }: Transaction): Promise<void> {
    this.#requireOpen();
    checkMoves(branches, (id) => this.#branches.get(id)?.head ?? null);
    const times = branches.map((move) => reflogTime(move.time));
    for (const { kind, hash, bytes } of objects) {
      const known = this.#of(kind);
      if (!known.has(hash)) known.set(hash, bytes);
    }
    for (const [index, move] of branches.entries()) {
      const before = this.#branches.get(move.id);
      const { id, name, next, why } = move;
      const time = new Date(times[index] ?? 0).toISOString();
      this.#reflog.push({ branch: id, name, from: before?.head ?? null, to: next, time, why });
      this.#branches.set(id, movedBranch(before, move));
    }
    for (const reply of replies) {
      if (!this.#replies.has(reply.id)) this.#replies.set(reply.id, reply);
    }
    for (const { name, bytes } of notes) {
      if (bytes === null) this.#notes.delete(name);
      else this.#notes.set(name, bytes);
    }
  }

  async branches(): Promise<StoredBranch[]> {
    this.#requireOpen();
    return [...this.#branches.values()].sort((a, b) => byText(a.id, b.id));
  }

  async reflog(branch: Hash | null, limit: number): Promise<ReflogEntry[]> {
    this.#requireOpen();
    const entries = branch === null ? this.#reflog : this.#reflog.filter((entry) => entry.branch === branch);
    return limit === 0 ? [] : entries.slice(-limit).reverse();
  }

  async moves(after: number, limit: number): Promise<Moves> {
    this.#requireOpen();
    const entries = this.#reflog.slice(after, after + limit);
    return { entries, next: after + limit < this.#reflog.length ? after + limit : null };
  }

  async notes(prefix: string): Promise<StoredNote[]> {
    this.#requireOpen();
    return [...this.#notes]
      .filter(([name]) => name.startsWith(prefix))
      .sort(([a], [b]) => byText(a, b))
      .map(([name, bytes]) => ({ name, bytes }));
  }

  async reply(id: string): Promise<StoredReply | null> {
    this.#requireOpen();
    return this.#replies.get(id) ?? null;
  }

  async dropReplies(before: number): Promise<void> {
    this.#requireOpen();
    for (const [id, { time }] of this.#replies) if (time < before) this.#replies.delete(id);
  }

  async scan(kind: Kind, after: Hash | null, limit: number): Promise<StoredObject[]> {
    return [...this.#of(kind)]
      .filter(([hash]) => after === null || hash > after)
      .sort(([a], [b]) => byText(a, b))
      .slice(0, limit)
      .map(([hash, bytes]) => ({ kind, hash, bytes }));
  }

  async *names(kind: Kind): AsyncGenerator<readonly ObjectName[]> {
    for (let page = await this.scan(kind, null, PAGE); page.length > 0;) {
      yield page.map(({ hash, bytes }) => ({ hash, size: bytes.length }));
      page = await this.scan(kind, page.at(-1)?.hash ?? null, PAGE);
    }
  }

  async remove(kind: Kind, hashes: readonly Hash[]): Promise<void> {
    const objects = this.#of(kind);
    for (const hash of hashes) objects.delete(hash);
  }

  async reclaim(): Promise<number> {
    this.#requireOpen();
    return 0;
  }

  async usage(): Promise<Usage> {
    const counts: Partial<Record<Kind, number>> = {};
    let bytes = 0;
    for (const kind of KINDS) {
      const objects = this.#of(kind);
      counts[kind] = objects.size;
      for (const object of objects.values()) bytes += object.length;
    }
    return { bytes, counts: counts as Record<Kind, number> };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const objects of this.#objects.values()) objects.clear();
  }

  #of(kind: Kind): Map<Hash, Uint8Array> {
    this.#requireOpen();
    return this.#objects.get(kind) as Map<Hash, Uint8Array>;
  }

  #requireOpen(): void {
    if (this.#closed) throw new VlinderError("unavailable", `${this.uri} is closed`, { remedy: "open it again" });
  }
}
