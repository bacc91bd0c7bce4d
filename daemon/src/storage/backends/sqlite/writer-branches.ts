import type Database from "better-sqlite3";
import type { UnpackedMove } from "./unpacked-transaction.ts";

/** A BranchConflict on its way to the caller. */
export interface FoundConflict {
  readonly branch: string;
  readonly actual: string | null;
}

interface BranchRow {
  readonly id: number;
  readonly head: Buffer | null;
  readonly sealed: number;
  readonly deleted: Buffer | null;
  readonly newest: number;
}

/** The tables of branches and of their moves, for the writer. */
export class WriterBranches {
  readonly #row: Database.Statement<[Buffer], BranchRow>;
  readonly #create: Database.Statement<[Buffer, string]>;
  readonly #update: Database.Statement<[string, Buffer | null, number, Buffer | null, number, number]>;
  readonly #log: Database.Statement<[number, number | null, string, Buffer | null, Buffer | null, number, string]>;

  constructor(db: Database.Database) {
    this.#row = db.prepare("SELECT id, head, sealed, deleted, newest FROM branch WHERE hash = ?");
    this.#create = db.prepare("INSERT INTO branch(hash, name, sealed, newest) VALUES (?, ?, 0, 0)");
    this.#update = db.prepare("UPDATE branch SET name = ?, head = ?, sealed = ?, deleted = ?, newest = ? WHERE id = ?");
    this.#log = db.prepare(
      'INSERT INTO reflog(branch, previous, name, "from", "to", time, why) VALUES (?, ?, ?, ?, ?, ?, ?)',
    );
  }

  /** The first move whose branch is elsewhere; later ones see what earlier ones will have done. */
  check(moves: readonly UnpackedMove[]): FoundConflict | null {
    const heads = new Map<string, Buffer | null>();
    for (const { id, expected, next } of moves) {
      const branch = id.toString("hex");
      const head = heads.get(branch) ?? (heads.has(branch) ? null : (this.#row.get(id)?.head ?? null));
      const same = head === null ? expected === null : expected !== null && head.equals(expected);
      if (!same) return { branch, actual: head === null ? null : head.toString("hex") };
      heads.set(branch, next);
    }
    return null;
  }

  /** As movedBranch (branch-moves.ts) has it. */
  move({ id, name, next, sealed, deleted, time, why }: UnpackedMove): void {
    const old = this.#row.get(id);
    const row = old?.id ?? Number(this.#create.run(id, name).lastInsertRowid);
    const entry = this.#log.run(row, old?.newest ?? null, name, old?.head ?? null, next, time, why);
    const graves = [...hashesOf(old?.deleted ?? null), ...deleted];
    if (next === null && old?.head != null) graves.push(old.head);
    const isSealed = sealed === null ? (old?.sealed ?? 0) : Number(sealed);
    this.#update.run(name, next, isSealed, joined(graves), Number(entry.lastInsertRowid), row);
  }
}

/** The column holds 32 bytes for each commit, in order. */
function hashesOf(column: Buffer | null): Buffer[] {
  return Array.from({ length: (column?.length ?? 0) / 32 }, (_, i) => (column as Buffer).subarray(32 * i, 32 * i + 32));
}

/** In order and each once; null for none. */
function joined(hashes: readonly Buffer[]): Buffer | null {
  const sorted = hashes.toSorted((a, b) => Buffer.compare(a, b));
  const distinct = sorted.filter((hash, i) => i === 0 || !hash.equals(sorted[i - 1] as Buffer));
  return distinct.length === 0 ? null : Buffer.concat(distinct);
}
