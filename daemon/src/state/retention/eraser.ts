import { type Hash, type Key, keyText } from "@vlinder/protocol";
import type { Kind, ObjectStorage } from "../../storage/object-storage.ts";
import { type OnProgress, RECLAIM_STEP } from "./collector.ts";
import { valueKind } from "../objects.ts";
import type { Erased, ErasedValue } from "./erased.ts";
import type { Ground } from "./ground.ts";
import { partsOf } from "./parts.ts";
import { type Erasure, findPuts, namedValues, needed, pairOf, type Put, readErasure, type Recorded } from "./puts.ts";

/** Which keys are to be forgotten: one, or all with a prefix. */
export interface Forgotten {
  readonly key: Key;
  readonly isPrefix: boolean;
}

/** A value that stays, and why: another key holds it, or the same was put again. */
export interface KeptValue {
  readonly hash: Hash;
  readonly key: Key;
}

export interface ForgetPlan {
  /** What the `erase` commit is to list; empty: there is nothing left to erase. */
  readonly values: readonly ErasedValue[];
  /** Distinct values whose bytes go, and how many bytes they have. */
  readonly erased: readonly Recorded[];
  readonly kept: readonly KeptValue[];
  /** Whether any key was ever there. */
  readonly found: boolean;
}

/** A vector record that is gone: its row in the index must go too. */
export interface ErasedRow {
  readonly key: Key;
  readonly hash: Hash;
}

export interface CarriedOut {
  readonly erased: readonly Hash[];
  readonly kept: readonly KeptValue[];
  /** Copies of the whole storage that held erased values, and were deleted. */
  readonly copies: readonly string[];
}

/** What else holds bytes of values. It is waited for before an erasure counts as done. */
export type OnErased = (rows: readonly ErasedRow[], hashes: readonly Hash[]) => Promise<void>;

/** Text that a recorded call may hold as a whole: shorter ones are in many by chance, longer ones are not sought. */
const SOUGHT = { least: 16, most: 64 * 1024 };

/** Finds what `forget` is to erase, and carries out `erase` commits, own ones and those of other machines. */
export class Eraser {
  readonly #ground: Ground;
  readonly #erased: Erased;
  readonly #onErased: OnErased;

  constructor(ground: Ground, erased: Erased, onErased: OnErased) {
    this.#ground = ground;
    this.#erased = erased;
    this.#onErased = onErased;
  }

  /** Changes nothing. */
  async plan({ key: asked, isPrefix }: Forgotten, progress: OnProgress): Promise<ForgetPlan> {
    const { storage, uploads } = this.#ground;
    await uploads.storeTurns?.();
    const isAsked = (key: Key): boolean => (isPrefix ? key.startsWith(asked) : key === asked);
    const targets = await findPuts(storage, (_space, key) => isAsked(key), reading(progress));
    const hashes = new Set<Hash>();
    const values = new Map<string, ErasedValue>();
    const sizes = new Map<Hash, number>();
    for (const put of await this.#stillThere(targets.puts)) {
      hashes.add(put.hash);
      sizes.set(put.hash, put.size);
      values.set(pairOf(put), { space: put.space, key: put.key, hash: put.hash, size: put.size });
    }
    for (const record of await this.#recordsOf(targets.recorded, hashes, sizes)) {
      hashes.add(record.hash);
      sizes.set(record.hash, record.size);
      values.set(record.hash, record);
    }
    const others = await findPuts(storage, (_space, key, hash) => hashes.has(hash) && !isAsked(key), reading(progress));
    const kept = needed(
      others,
      await this.#erasures(
        others.erases.map((by) => others.table.hash(by)),
        hashes,
      ),
    );
    const keptHashes = new Set(kept.map(({ hash }) => hash));
    return {
      values: [...values.values()],
      erased: [...hashes].filter((hash) => !keptHashes.has(hash)).map((hash) => ({ hash, size: sizes.get(hash) ?? 0 })),
      kept: distinct(kept),
      found: targets.puts.length > 0,
    };
  }

  /**
   * Carries out `erase` commits that are here. Judged again from all commits: a value that another
   * key has, or that was put again, stays. Ends when its bytes are nowhere; broken off, it is
   * done again.
   */
  async carryOut(commits: readonly Hash[], progress: OnProgress): Promise<CarriedOut> {
    const { watch, received, alone, storage, uploads } = this.#ground;
    const touched = watch.start();
    const begun = this.#erased.now;
    try {
      await received();
      // What an open turn has of these values is found then, as any other put.
      await uploads.storeTurns?.();
      await alone(async () => {});
      const own = await this.#erasures(commits, null);
      const hashes = new Map(own.flatMap(({ values }) => values.map(({ hash, size }) => [hash, size] as const)));
      const found = await findPuts(storage, (_space, _key, hash) => hashes.has(hash), reading(progress));
      const all = await this.#erasures(
        found.erases.map((by) => found.table.hash(by)),
        new Set(hashes.keys()),
      );
      const kept = needed(found, all);
      for (const { hash } of kept) hashes.delete(hash);
      const copies = await this.#remove(
        [...hashes].map(([hash, size]) => ({ hash, size })),
        progress,
      );
      const gone = [...hashes.keys()].filter((hash) => !touched.has("value", hash) && !touched.has("list", hash));
      const rows = own.flatMap(({ values }) => values.flatMap((value) => rowOf(value, gone)));
      await this.#onErased(rows, gone);
      await this.#settled(commits, begun);
      return { erased: gone, kept: distinct(kept), copies };
    } finally {
      watch.stop();
    }
  }

  /** Of these values those that some commit gave a key, and no `erase` commit covers. */
  async needed(hashes: readonly Hash[]): Promise<Hash[]> {
    const asked = new Set(hashes);
    if (asked.size === 0) return [];
    const found = await findPuts(
      this.#ground.storage,
      (_space, _key, hash) => asked.has(hash),
      reading(() => {}),
    );
    const erasures = await this.#erasures(
      found.erases.map((by) => found.table.hash(by)),
      asked,
    );
    return [...new Set(needed(found, erasures).map(({ hash }) => hash))];
  }

  async #settled(commits: readonly Hash[], begun: number): Promise<void> {
    const notes = this.#erased.done(commits, begun);
    try {
      await this.#ground.storage.apply({ objects: [], branches: [], replies: [], notes });
    } catch (error) {
      for (const commit of commits) this.#erased.owe(commit);
      throw error;
    }
  }

  /** Chunks before the lists that name them, so that what a kill leaves can still be found. */
  async #remove(values: readonly Recorded[], progress: OnProgress): Promise<string[]> {
    const { storage, objects, alone, watch, uploads } = this.#ground;
    const copies: string[] = [];
    return await this.#withQuarantines(async (quarantines) => {
      const parts = await partsOf([storage, ...quarantines], values, async (lists) => {
        const named = await namedValues(storage, lists, reading(progress));
        for (const hash of uploads.reached()) if (lists.has(hash)) named.add(hash);
        return named;
      });
      for (const kind of ["chunk", "list", "value"] as const satisfies readonly Kind[]) {
        const hashes = parts[kind];
        if (hashes.length === 0) continue;
        await alone(async () => {
          const gone = watch.condemn(kind, hashes);
          uploads.erase(new Set(gone));
          try {
            await storage.remove(kind, gone);
            objects.forget(kind, gone);
          } finally {
            watch.pardon();
          }
        });
        for (const quarantine of quarantines) await quarantine.remove(kind, hashes);
      }
      let done = 0;
      for (const one of [storage, ...quarantines]) {
        if (values.length > 0) copies.push(...((await one.dropCopies?.()) ?? []));
        for (let step = await one.reclaim(RECLAIM_STEP); step > 0; step = await one.reclaim(RECLAIM_STEP)) {
          done += step;
          progress({ what: "giving space back", done, total: null, unit: "bytes" });
        }
      }
      return copies;
    });
  }

  async #withQuarantines<T>(work: (quarantines: readonly ObjectStorage[]) => Promise<T>): Promise<T> {
    const { shelf } = this.#ground;
    const quarantines: ObjectStorage[] = [];
    try {
      for (const name of await shelf.list()) quarantines.push(await shelf.open(name));
      return await work(quarantines);
    } finally {
      for (const quarantine of quarantines) await quarantine.close();
    }
  }

  /** The `erase` commits that list any of these values; null: all of them. */
  async #erasures(commits: readonly Hash[], hashes: ReadonlySet<Hash> | null): Promise<Erasure[]> {
    const { storage, objects } = this.#ground;
    const erasures: Erasure[] = [];
    for (const commit of commits) {
      const erasure = await readErasure(storage, commit, async (hash, size) => objects.requiredValue(hash, size));
      if (hashes === null || erasure.values.some(({ hash }) => hashes.has(hash))) erasures.push(erasure);
    }
    return erasures;
  }

  /** Recorded calls that are one of these values, or hold one as a whole, also as JSON writes it. */
  async #recordsOf(recorded: readonly Recorded[], hashes: ReadonlySet<Hash>, sizes: ReadonlyMap<Hash, number>) {
    if (recorded.length === 0) return [];
    const needles: Buffer[] = [];
    for (const hash of hashes) {
      const size = sizes.get(hash) as number;
      if (size < SOUGHT.least || size > SOUGHT.most) continue;
      const bytes = await this.#ground.objects.value(hash, size);
      if (bytes === null) continue;
      const raw = Buffer.from(bytes);
      needles.push(raw, Buffer.from(JSON.stringify(raw.toString("utf8")).slice(1, -1), "utf8"));
    }
    const found: Recorded[] = [];
    for (const { hash, size } of recorded) {
      const bytes = await this.#ground.objects.value(hash, size);
      if (bytes === null) continue;
      const hay = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
      if (hashes.has(hash) || needles.some((needle) => hay.includes(needle))) found.push({ hash, size });
    }
    return found;
  }

  /** Those whose values may still be here, or in a quarantine: one that was erased can have come back, and been dropped since. */
  async #stillThere(puts: readonly Put[]): Promise<Put[]> {
    const erased = puts.filter(({ hash }) => this.#erased.has(hash));
    if (erased.length === 0) return [...puts];
    return await this.#withQuarantines(async (quarantines) => {
      const there = new Set<Hash>();
      for (const storage of [this.#ground.storage, ...quarantines]) {
        for (const { hash, size } of erased) {
          if (!there.has(hash) && (await storage.read(valueKind(size), [hash]))[0] != null) there.add(hash);
        }
      }
      return puts.filter(({ hash }) => !this.#erased.has(hash) || there.has(hash));
    });
  }
}

function rowOf({ space, key, hash }: ErasedValue, gone: readonly Hash[]): ErasedRow[] {
  return space === "vectors" && key !== undefined && gone.includes(hash) ? [{ key, hash }] : [];
}

/** One key for each value. */
function distinct(puts: readonly Put[]): KeptValue[] {
  const kept = new Map<Hash, KeptValue>();
  for (const { hash, key } of puts) if (!kept.has(hash)) kept.set(hash, { hash, key });
  return [...kept.values()].sort((a, b) => (keyText(a.key) < keyText(b.key) ? -1 : 1));
}

function reading(progress: OnProgress): (done: number) => void {
  return (done) => progress({ what: "reading history", done, total: null, unit: "commits" });
}
