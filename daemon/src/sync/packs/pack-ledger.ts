import { setImmediate } from "node:timers/promises";
// This home's own bookkeeping, not an agent's storage: no backend of `storage/` is asked for it.
// oxlint-disable-next-line no-restricted-imports
import type Database from "better-sqlite3";
import { type Hash, hashFromBytes, hashToBytes } from "@vlinder/protocol";
import type { Kind } from "../../storage/object-storage.ts";
import { type LedgerObject, ObjectRows, OBJECTS_SCHEMA, RECENT_SCHEMA, ROWS } from "./object-rows.ts";

/** A pack in the bucket, as far as is known, whose objects are in this agent's state; heads name it. */
export interface KnownPack {
  readonly seq: number;
  readonly name: Hash;
  /** Bytes of the file. */
  readonly size: number;
  /** Bytes of its raw payload; 0 when they are not known. */
  readonly raw: number;
  /** It was never read here: a mark says that it holds what packs held that were. */
  readonly claimed: boolean;
}

/** A value, or the list of a large one, that was forgotten and a pack holds. */
export interface ForgottenObject {
  readonly kind: Kind;
  readonly hash: Hash;
  readonly pack: Hash;
  /** Whether heads name the pack; else it was replaced. */
  readonly isLive: boolean;
}

/** An object, and the packs that hold it, by their numbers. */
export interface HeldObject {
  readonly kind: Kind;
  readonly hash: Hash;
  readonly packs: readonly number[];
}

interface AddedPack {
  readonly raw?: number;
  readonly first?: boolean;
  readonly stored?: Promise<unknown>;
}

/** A pack was read here, or is claimed to hold what others did, or was replaced by such. */
const STATE = { read: 0, claimed: 1, replaced: 2 } as const;

export const LEDGER_SCHEMA = `
  CREATE TABLE packs (seq INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, raw INTEGER NOT NULL,
    place INTEGER NOT NULL, state INTEGER NOT NULL);
  ${OBJECTS_SCHEMA}
  ${RECENT_SCHEMA}
  CREATE TABLE left_out (hash BLOB NOT NULL, kind TEXT NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY (hash, kind, pack)) WITHOUT ROWID;
  CREATE TABLE forgotten (hash BLOB PRIMARY KEY, back INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE marks (pack BLOB PRIMARY KEY, bytes BLOB NOT NULL);
  CREATE TABLE sightings (path TEXT PRIMARY KEY, since TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE counter (next INTEGER NOT NULL);
  INSERT INTO counter VALUES (1);
`;

/** From version 1, which kept one pack of each object, in the order in which the packs came. */
export const LEDGER_FROM_1 = `
  ALTER TABLE packs RENAME TO packs_1;
  ALTER TABLE objects RENAME TO objects_1;
  ALTER TABLE counter RENAME TO counter_1;
  ${LEDGER_SCHEMA}
  INSERT INTO packs SELECT seq, name, size, 0, seq, ${STATE.read} FROM packs_1;
  INSERT INTO objects SELECT hash, kind, pack FROM objects_1;
  UPDATE counter SET next = (SELECT next FROM counter_1);
  DROP TABLE packs_1;
  DROP TABLE objects_1;
  DROP TABLE counter_1;
`;

/** From version 2, which put all rows into one table at once. */
export const LEDGER_FROM_2 = RECENT_SCHEMA;

export const LEDGER_TABLES = ["packs", "objects", "recent", "left_out", "forgotten", "marks", "sightings"] as const;

/**
 * Which packs the bucket has and what they hold. Objects point to a sequence number that is never used twice, and a pack's row
 * is written last, so those of a pack that was not finished point nowhere and count as absent.
 *
 * A pack that was replaced stays known: what it held counts as held by its replacements, but for what
 * these left out. It goes when its file does and the replacements were read here.
 */
export class PackLedger {
  protected readonly db: Database.Database;
  readonly #has: Readonly<Record<"objects" | "recent", Database.Statement>>;
  readonly #rows: ObjectRows;

  protected constructor(db: Database.Database) {
    this.db = db;
    this.#rows = new ObjectRows(db);
    const has = (table: string): Database.Statement =>
      db.prepare(`SELECT 1 FROM ${table} JOIN packs ON seq = pack WHERE hash = ? AND kind = ?`);
    this.#has = { objects: has("objects"), recent: has("recent") };
  }

  /** Those that a head is to name, in an order in which they can be taken. */
  packs(): KnownPack[] {
    const rows = this.db.prepare("SELECT * FROM packs WHERE state < ? ORDER BY place").all(STATE.replaced) as PackRow[];
    return rows.map(({ seq, name, size, raw, state }) => {
      return { seq, name: hashFromBytes(name), size, raw, claimed: state === STATE.claimed };
    });
  }

  /** Packs that others replaced, whose contents are here. */
  replacedPacks(): { readonly seq: number; readonly name: Hash }[] {
    const rows = this.db.prepare("SELECT * FROM packs WHERE state = ?").all(STATE.replaced) as PackRow[];
    return rows.map(({ seq, name }) => ({ seq, name: hashFromBytes(name) }));
  }

  /** Whether all that the pack holds, or held, is here. */
  hasPack(name: Hash): boolean {
    return this.db.prepare("SELECT 1 FROM packs WHERE name = ?").get(hashToBytes(name)) !== undefined;
  }

  /** Whether a known pack holds the object. */
  has(kind: Kind, hash: Hash): boolean {
    const key = hashToBytes(hash);
    if (this.#has.objects.get(key, kind) !== undefined) return true;
    return !this.#rows.isSettled && this.#has.recent.get(key, kind) !== undefined;
  }

  /** The known packs that hold an object of any kind with this hash, also those whose replacements lack it. */
  packsOf(hash: Hash): Hash[] {
    const rows = this.db
      .prepare(`
        SELECT name FROM objects JOIN packs ON seq = pack WHERE hash = @hash
        UNION SELECT name FROM recent JOIN packs ON seq = pack WHERE hash = @hash
        UNION SELECT name FROM left_out JOIN packs ON seq = pack WHERE hash = @hash`)
      .all({ hash: hashToBytes(hash) }) as { name: Buffer }[];
    return rows.map(({ name }) => hashFromBytes(name));
  }

  /**
   * A pack is in the bucket, and all that it holds is in the state here.
   *
   * @param first it needs nothing, and others may need it: it is to stand before all
   * @param stored all that it holds comes to be in the state only with this; what it holds is written down meanwhile. Its error is thrown, and
   *   nothing is known of the pack then
   */
  async addPack(
    name: Hash,
    size: number,
    objects: readonly LedgerObject[],
    { raw = 0, first = false, stored }: AddedPack = {},
  ): Promise<void> {
    const seq = this.#nextSeq();
    const noting = this.#rows.add(objects, seq);
    try {
      await Promise.all([stored, noting]);
    } catch (error) {
      await noting.then(() => this.#rows.drop(objects, seq)).catch(() => {}); // rows without a pack count as absent
      throw error;
    }
    this.db.transaction(() => {
      // One that was claimed before and is read now: its place stays.
      const before = this.db.prepare("SELECT place FROM packs WHERE name = ?").get(hashToBytes(name));
      this.db.prepare("DELETE FROM packs WHERE name = ?").run(hashToBytes(name));
      const place = (before as { place: number } | undefined)?.place ?? this.#place(first);
      this.#insert({ seq, name, size, raw, place, state: STATE.read });
    })();
  }

  /** A mark says that this pack holds only what is here. */
  claim(name: Hash, size: number, raw: number): void {
    this.db.transaction(() => {
      this.#insert({ seq: this.#nextSeq(), name, size, raw, place: this.#place(false), state: STATE.claimed });
    })();
  }

  /**
   * Others hold what these packs do, but for what is left.
   *
   * @param left null: it is not known what these packs say about the others, which were read here
   * @param behind packs that these replaced before, and stood for unread: they say no more than these
   * @param first how all that stands up to the replacements is to be ordered; what is not among them stays behind, in its order
   */
  replace(
    names: readonly Hash[],
    left: readonly Hash[] | null,
    behind: readonly Hash[],
    first: (live: ReadonlySet<Hash>) => readonly Hash[],
  ): void {
    this.#rows.settleNow();
    this.db.transaction(() => {
      const set = this.db.prepare("UPDATE packs SET state = ? WHERE name = ?");
      for (const name of names) set.run(STATE.replaced, hashToBytes(name));
      const where = "hash = @hash AND pack = (SELECT seq FROM packs WHERE name = @name)";
      const move = this.db.prepare(
        `INSERT INTO left_out SELECT hash, kind, pack FROM objects WHERE ${where} ON CONFLICT DO NOTHING`,
      );
      const drop = this.db.prepare(`DELETE FROM objects WHERE ${where}`);
      for (const pack of [...names, ...behind]) {
        if (left === null) this.dropPack(pack);
        for (const hash of left ?? []) {
          const one = { hash: hashToBytes(hash), name: hashToBytes(pack) };
          move.run(one);
          drop.run(one);
        }
      }
      this.arrange(first(new Set(this.packs().map(({ name }) => name))));
    })();
  }

  /** Puts these packs first, in this order; the others stay behind them in theirs. */
  arrange(first: readonly Hash[]): void {
    const others = this.packs().filter(({ name }) => !first.includes(name));
    const set = this.db.prepare("UPDATE packs SET place = ? WHERE name = ?");
    this.db.transaction(() => {
      [...first, ...others.map(({ name }) => name)].forEach((name, i) => set.run(i + 1, hashToBytes(name)));
    })();
  }

  /** What was not known of a pack. */
  setRaw(name: Hash, raw: number): void {
    this.db.prepare("UPDATE packs SET raw = ? WHERE name = ?").run(raw, hashToBytes(name));
  }

  /** The pack's file is gone, or says nothing: what it held is held by others that were read here, or not at all. */
  dropPack(name: Hash): void {
    this.db.prepare("DELETE FROM packs WHERE name = ?").run(hashToBytes(name));
  }

  /** The bucket lacks this pack: it and all behind it, which may need it, are to be sent again. */
  forgetFrom(seq: number): void {
    this.db.transaction(() => {
      // Of what was replaced it is not known what rested on a pack that is gone.
      this.db
        .prepare("DELETE FROM packs WHERE place >= (SELECT place FROM packs WHERE seq = ?) OR state = ?")
        .run(seq, STATE.replaced);
      this.db.exec("DELETE FROM tips");
    })();
  }

  /** Every object of known packs, with the packs that hold it. In slices; rows that point nowhere are removed on the way. */
  async *held(): AsyncGenerator<readonly HeldObject[]> {
    await this.#rows.settle();
    const drop = this.db.prepare(
      "DELETE FROM objects WHERE (hash, kind, pack) > (?, ?, ?) AND (hash, kind, pack) <= (?, ?, ?) AND pack NOT IN (SELECT seq FROM packs)",
    );
    const select = this.db.prepare(
      "SELECT hash, kind, pack FROM objects WHERE (hash, kind, pack) > (?, ?, ?) ORDER BY hash, kind, pack LIMIT ?",
    );
    const known = new Set((this.db.prepare("SELECT seq FROM packs").all() as { seq: number }[]).map(({ seq }) => seq));
    let after: readonly [Buffer, string, number] = [Buffer.alloc(0), "", 0];
    let open = null as { kind: Kind; hash: Hash; packs: number[] } | null;
    for (;;) {
      const rows = select.all(...after, ROWS) as ObjectRow[];
      const last = rows.at(-1);
      if (last === undefined) break;
      const done: HeldObject[] = [];
      for (const { hash, kind, pack } of rows) {
        if (!known.has(pack)) continue;
        const name = hashFromBytes(hash);
        if (open?.hash === name && open.kind === kind) open.packs.push(pack);
        else {
          if (open !== null) done.push(open);
          open = { kind, hash: name, packs: [pack] };
        }
      }
      drop.run(...after, last.hash, last.kind, last.pack);
      after = [last.hash, last.kind, last.pack];
      yield done;
      await setImmediate();
    }
    if (open !== null) yield [open];
  }

  /** Objects that the replacements of their packs lack. */
  leftOut(): { readonly kind: Kind; readonly hash: Hash; readonly pack: Hash }[] {
    const rows = this.db
      .prepare("SELECT hash, kind, name FROM left_out JOIN packs ON seq = pack ORDER BY hash, kind")
      .all() as { hash: Buffer; kind: Kind; name: Buffer }[];
    return rows.map(({ hash, kind, name }) => ({ kind, hash: hashFromBytes(hash), pack: hashFromBytes(name) }));
  }

  /** Values that were erased, and that nothing here needs. */
  forget(hashes: readonly Hash[]): void {
    const insert = this.db.prepare("INSERT INTO forgotten VALUES (?, 0) ON CONFLICT DO UPDATE SET back = 0");
    this.db.transaction(() => {
      for (const hash of hashes) insert.run(hashToBytes(hash));
    })();
  }

  /** Objects are about to come, or to be sent: whether those that were forgotten are needed now is for the next erasure to say. */
  comesBack(objects: readonly { readonly hash: Hash }[]): void {
    if (this.db.prepare("SELECT 1 FROM forgotten WHERE back = 0 LIMIT 1").get() === undefined) return;
    const update = this.db.prepare("UPDATE forgotten SET back = 1 WHERE hash = ?");
    this.db.transaction(() => {
      for (const { hash } of objects) update.run(hashToBytes(hash));
    })();
  }

  /** What was forgotten and is still in packs that heads name, as values and lists, with these packs. */
  forgottenIn(): ForgottenObject[] {
    return this.forgottenHeld().filter(({ isLive }) => isLive);
  }

  /** The same, also by what replaced packs say of packs that were never read. */
  forgottenHeld(): ForgottenObject[] {
    const held = (table: string): string => `
      SELECT forgotten.hash, kind, name, state FROM forgotten CROSS JOIN ${table} USING (hash) JOIN packs ON seq = pack
      WHERE back = 0 AND kind IN ('value', 'list')`;
    const rows = this.db.prepare(`${held("objects")} UNION ALL ${held("recent")}`).all() as {
      hash: Buffer;
      kind: Kind;
      name: Buffer;
      state: number;
    }[];
    return rows.map(({ hash, kind, name, state }) => {
      return { kind, hash: hashFromBytes(hash), pack: hashFromBytes(name), isLive: state !== STATE.replaced };
    });
  }

  /** The bytes of the mark beside a pack, when it was read before. */
  markOf(pack: Hash): Buffer | null {
    const row = this.db.prepare("SELECT bytes FROM marks WHERE pack = ?").get(hashToBytes(pack));
    return row === undefined ? null : (row as { bytes: Buffer }).bytes;
  }

  keepMark(pack: Hash, bytes: Buffer): void {
    this.db.prepare("INSERT INTO marks VALUES (?, ?) ON CONFLICT DO NOTHING").run(hashToBytes(pack), bytes);
  }

  /** Since when these files are seen in the bucket, by this machine's clock. Others are forgotten. */
  sight(paths: readonly string[], now: Date): ReadonlyMap<string, Date> {
    return this.db.transaction(() => {
      const before = this.db.prepare("SELECT * FROM sightings").all() as { path: string; since: string }[];
      const since = new Map(before.map((row) => [row.path, row.since]));
      const found = new Map(paths.map((path) => [path, since.get(path) ?? now.toISOString()]));
      const insert = this.db.prepare("INSERT INTO sightings VALUES (?, ?)");
      for (const [path, time] of found) if (!since.has(path)) insert.run(path, time);
      const drop = this.db.prepare("DELETE FROM sightings WHERE path = ?");
      for (const path of since.keys()) if (!found.has(path)) drop.run(path);
      return new Map([...found].map(([path, time]) => [path, new Date(time)]));
    })();
  }

  #nextSeq(): number {
    return this.db.transaction(() => {
      this.db.exec("UPDATE counter SET next = next + 1");
      return (this.db.prepare("SELECT next - 1 AS seq FROM counter").get() as { seq: number }).seq;
    })();
  }

  #place(first: boolean): number {
    const { least, most } = this.db.prepare("SELECT min(place) AS least, max(place) AS most FROM packs").get() as {
      least: number | null;
      most: number | null;
    };
    return first ? (least ?? 1) - 1 : (most ?? 0) + 1;
  }

  #insert({ seq, name, size, raw, place, state }: Omit<PackRow, "name"> & { readonly name: Hash }): void {
    this.db
      .prepare(
        "INSERT INTO packs (seq, name, size, raw, place, state) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
      )
      .run(seq, hashToBytes(name), size, raw, place, state);
  }
}

interface PackRow {
  readonly seq: number;
  readonly name: Buffer;
  readonly size: number;
  readonly raw: number;
  readonly place: number;
  readonly state: number;
}
interface ObjectRow {
  readonly hash: Buffer;
  readonly kind: Kind;
  readonly pack: number;
}
