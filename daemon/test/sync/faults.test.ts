import { describe, expect, test } from "vitest";
import Database from "better-sqlite3";
import { copyFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { sha256 } from "@vlinder/protocol";
import type { PackPolicy } from "../../src/sync/packs/keeper.ts";
import { SyncState } from "../../src/sync/sync-state.ts";
import type { VaultId } from "../../src/sync/vault/vault.ts";
import { FaultyBucket, type Outcome } from "./faulty-bucket.ts";
import { Machine, newDevice, tempBucket, tempFolder, TODO } from "./machine.ts";
import { dice, noise } from "./noise.ts";
import { IS_LONG } from "../../../test/harness/long.ts";

async function pair(packs: Partial<PackPolicy> = {}): Promise<[Machine, Machine]> {
  const uri = await tempBucket();
  const [a, b] = [await Machine.start({ packs }), await Machine.start({ packs })];
  for (const machine of [a, b]) await machine.sync.init(uri);
  await a.add();
  a.todo.put("/first", "1");
  await a.syncAll();
  await b.syncAll();
  return [a, b];
}

/** Runs one operation with one fault at call `n`; false when there was no such call. */
async function withFault(
  machine: Machine,
  n: number,
  outcome: Outcome,
  work: () => Promise<unknown>,
): Promise<boolean> {
  const buckets: FaultyBucket[] = [];
  let calls = 0;
  machine.wrap = (bucket) => {
    const faulty = new FaultyBucket(bucket, () => (++calls === n ? outcome : "fine"));
    buckets.push(faulty);
    return faulty;
  };
  let failed: unknown = null;
  try {
    await work();
  } catch (error) {
    failed = error;
  }
  machine.wrap = (bucket) => bucket;
  const fired = buckets.reduce((sum, bucket) => sum + bucket.fired, 0);
  if (fired === 0) expect(failed).toBeNull();
  return fired > 0;
}

const OUTCOMES: readonly Outcome[] = ["kill before", "kill after", "fail before", "fail after"];
/** The short run takes those that leave the most behind. */
const TRIED = IS_LONG ? OUTCOMES : (["kill after", "fail after"] as const);

describe("a push that dies or fails at any step", () => {
  for (const outcome of TRIED) {
    test(`${outcome}: the next one brings all of it, under the same id`, async () => {
      let steps = 0;
      for (let n = 1; ; n++) {
        const [a, b] = await pair();
        const id = a.device;
        for (let i = 0; i < 3; i++) a.todo.put(`/${i}`, noise(i, 100_000));
        b.todo.put("/b", "b");
        await b.push();
        const fired = await withFault(a, n, outcome, () => a.sync.push());
        if (!fired) break;
        steps = n;
        await a.restart();
        await a.syncAll();
        await b.syncAll();
        await a.syncAll();
        expect(a.todo.head(), `step ${n}`).toBe(b.todo.head());
        expect(Object.keys(b.todo.contents()).length).toBe(5);
        expect(a.device, `step ${n}`).toBe(id);
        expect(await a.sync.owed(TODO)).toBeNull();
      }
      // vault, list, put pack, see it, put head, see it, delete the old head.
      expect(steps).toBe(7);
    });
  }
});

describe("a pull that dies or fails at any step", () => {
  for (const outcome of TRIED) {
    test(`${outcome}: local branches are as before, or as after; the next one brings all of it`, async () => {
      let steps = 0;
      for (let n = 1; ; n++) {
        const [a, b] = await pair();
        for (let i = 0; i < 2; i++) {
          a.todo.put(`/${i}`, noise(i, 100_000));
          await a.push();
        }
        const before = b.todo.head();
        const fired = await withFault(b, n, outcome, () => b.sync.pull());
        expect([before, a.todo.head()]).toContain(b.todo.head());
        if (!fired) break;
        steps = n;
        await b.restart();
        await b.syncAll();
        expect(b.todo.head(), `step ${n}`).toBe(a.todo.head());
      }
      // vault, list, head, two packs.
      expect(steps).toBe(5);
    });
  }
});

describe("a clone that dies at any step", () => {
  test("is completed by the next pull", async () => {
    let steps = 0;
    for (let n = 1; ; n++) {
      const [a] = await pair();
      const c = await Machine.start();
      await c.sync.init(a.sync.bucket as string);
      const fired = await withFault(c, n, "kill before", () => c.sync.pull());
      if (!fired) break;
      steps = n;
      await c.restart();
      await c.syncAll();
      expect(c.todo.head(), `step ${n}`).toBe(a.todo.head());
    }
    // vault, list, two heads, two heads, a pack.
    expect(steps).toBe(7);
  });
});

describe("a bucket that fails at random", () => {
  for (const seed of IS_LONG ? [1, 2, 3] : [1]) {
    test(`seed ${seed}: machines that go on trying end on the same commit`, async () => {
      const roll = dice(seed);
      // Packs are merged all the time, and what they replace is deleted at once.
      const [a, b] = await pair({ over: 3, grace: 0 });
      const all = [a, b];
      const written = new Set(["/first"]);
      let fired = 0;
      for (let i = 0; i < 60; i++) {
        const machine = all[roll(2)] as Machine;
        const key = `/${roll(2) === 0 ? "same" : `own-${i}`}`;
        machine.todo.put(key, `${i}`);
        written.add(key);
        const n = 1 + roll(12);
        const outcome = OUTCOMES[roll(4)] as Outcome;
        const work = roll(2) === 0 ? () => machine.sync.push() : () => machine.sync.pull();
        if (await withFault(machine, n, outcome, work)) fired++;
        if (outcome.startsWith("kill")) await machine.restart();
      }
      process.stdout.write(`seed ${seed}: ${fired} faults fired\n`);
      expect(fired).toBeGreaterThan(15);
      for (const machine of [a, b, a, b, a]) await machine.syncAll();
      expect(a.todo.head()).toBe(b.todo.head());
      expect(a.todo.commits().toSorted()).toEqual(b.todo.commits().toSorted());
      expect(Object.keys(a.todo.contents())).toEqual(expect.arrayContaining([...written]));
    });
  }
});

describe("sync.db", () => {
  const object = { kind: "value", hash: sha256("x") } as const;
  const [one, two] = [sha256("pack 1"), sha256("pack 2")];

  test("does not know a pack, nor its objects, before the last step of taking it", async () => {
    const file = join(await tempFolder(), "sync.db");
    let state = SyncState.open(file);
    await state.addPack(one, 10, [object]);
    expect(state.has("value", object.hash)).toBe(true);
    expect(state.has("chunk", object.hash)).toBe(false);
    state.close();
    // As a kill leaves it: objects are in, the pack's row is not.
    const db = new Database(file);
    db.exec("DELETE FROM packs");
    db.close();
    state = SyncState.open(file);
    expect(state.has("value", object.hash)).toBe(false);
    await state.addPack(two, 10, []);
    expect(state.has("value", object.hash), "a number must not be used twice").toBe(false);
    await state.addPack(one, 10, [object]);
    expect(state.has("value", object.hash)).toBe(true);
    expect(state.packs().map(({ name }) => name)).toEqual([two, one]);
    state.close();
  });

  test("forgets a lost pack with all after it, and no tip stays", async () => {
    const state = SyncState.open(join(await tempFolder(), "sync.db"));
    const commit = { kind: "commit", hash: sha256("c") } as const;
    await state.addPack(one, 10, [object]);
    await state.addPack(two, 10, [commit]);
    state.setTips([commit.hash, sha256("unknown")]);
    expect(state.tips()).toEqual([commit.hash]);
    const third = sha256("pack 3");
    await state.addPack(third, 10, []);
    state.forgetFrom(state.packs()[1]?.seq as number);
    expect(state.packs().map(({ name }) => name)).toEqual([one]);
    expect(state.tips()).toEqual([]);
    expect(state.has("commit", commit.hash)).toBe(false);
    expect(state.has("value", object.hash)).toBe(true);
    state.close();
  });

  test("is about one vault: another one starts from nothing", async () => {
    const state = SyncState.open(join(await tempFolder(), "sync.db"));
    const [mine, other] = ["11".repeat(16), "22".repeat(16)] as [VaultId, VaultId];
    state.bind(mine);
    await state.addPack(one, 10, [object]);
    state.seeHead({ device: newDevice(), n: 5, hash: one, time: "" });
    state.bind(mine);
    expect(state.hasPack(one)).toBe(true);
    state.bind(other);
    expect([state.packs(), state.seenHeads(), state.has("value", object.hash)]).toEqual([[], [], false]);
    state.close();
  });

  test("of the first release goes on with what it knew, in its order", async () => {
    const file = join(await tempFolder(), "sync.db");
    const db = new Database(file);
    db.exec(`
      CREATE TABLE packs (seq INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, size INTEGER NOT NULL);
      CREATE TABLE objects (hash BLOB NOT NULL, kind TEXT NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY (hash, kind)) WITHOUT ROWID;
      CREATE TABLE tips (hash BLOB PRIMARY KEY) WITHOUT ROWID;
      CREATE TABLE own_heads (device TEXT NOT NULL, n INTEGER NOT NULL, hash BLOB NOT NULL, content BLOB NOT NULL, PRIMARY KEY (device, n)) WITHOUT ROWID;
      CREATE TABLE seen_heads (device TEXT PRIMARY KEY, n INTEGER NOT NULL, hash BLOB NOT NULL, time TEXT NOT NULL) WITHOUT ROWID;
      CREATE TABLE head_files (hash BLOB PRIMARY KEY, bytes BLOB NOT NULL);
      CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
      CREATE TABLE counter (next INTEGER NOT NULL);
      INSERT INTO counter VALUES (9);
      INSERT INTO packs VALUES (4, x'${two}', 20), (7, x'${one}', 10);
      INSERT INTO objects VALUES (x'${object.hash}', 'value', 7), (x'${object.hash}', 'chunk', 8);
      PRAGMA user_version = 1;`);
    db.close();
    const state = SyncState.open(file);
    expect(state.packs().map(({ seq, name, size }) => [seq, name, size])).toEqual([
      [4, two, 20],
      [7, one, 10],
    ]);
    expect([state.has("value", object.hash), state.has("chunk", object.hash)]).toEqual([true, false]);
    await state.addPack(sha256("pack 3"), 30, [object]);
    expect(state.packs().map(({ seq }) => seq)).toEqual([4, 7, 9]);
    expect(state.packsOf(object.hash).toSorted()).toEqual([one, sha256("pack 3")].toSorted());
    state.close();
  });

  test("knows at once what a pack holds, and reading writes nothing", async () => {
    const file = join(await tempFolder(), "sync.db");
    const state = SyncState.open(file);
    await state.addPack(one, 10, [object]);
    const db = new Database(file);
    const gathered = (): unknown => db.prepare("SELECT count(*) AS count FROM recent").get();
    const read = (): unknown[] => [
      state.has("value", object.hash),
      state.has("chunk", object.hash),
      state.packsOf(object.hash),
      state.forgottenIn().map(({ hash, pack }) => [hash, pack]),
    ];
    expect(read()).toEqual([true, false, [one], []]);
    state.forget([object.hash]);
    const all = [true, false, [one], [[object.hash, one]]];
    expect(read()).toEqual(all);
    expect(gathered()).toEqual({ count: 1 });
    const held = [];
    for await (const slice of state.held()) held.push(...slice);
    expect(held).toMatchObject([{ kind: "value", hash: object.hash }]);
    expect(gathered()).toEqual({ count: 0 });
    expect(read()).toEqual(all);
    db.close();
    state.close();
  });

  test("of the release before goes on with what it knew", async () => {
    const file = join(await tempFolder(), "sync.db");
    const before = SyncState.open(file);
    await before.addPack(one, 10, [object]);
    expect(before.has("value", object.hash)).toBe(true);
    before.close();
    const db = new Database(file);
    db.exec("INSERT INTO objects SELECT * FROM recent; DROP TABLE recent; PRAGMA user_version = 2;");
    db.close();
    const state = SyncState.open(file);
    await state.addPack(two, 20, [object]);
    expect(state.packsOf(object.hash).toSorted()).toEqual([one, two].toSorted());
    state.close();
  });

  test("of a newer release is refused", async () => {
    const file = join(await tempFolder(), "sync.db");
    SyncState.open(file).close();
    const db = new Database(file);
    db.pragma("user_version = 4");
    db.close();
    const before = await readFile(file);
    expect(() => SyncState.open(file)).toThrow(
      expect.objectContaining({ code: "invalid", message: `${file} has format 4; this release knows 3` }),
    );
    expect(await readFile(file)).toEqual(before);
  });

  test("of a newer release with a log that a kill left: neither is touched", async () => {
    const folder = await tempFolder();
    const [made, file] = [join(folder, "made.db"), join(folder, "sync.db")];
    SyncState.open(made).close();
    const db = new Database(made);
    db.pragma("user_version = 4");
    for (const suffix of ["", "-wal"]) await copyFile(made + suffix, file + suffix);
    db.close();
    const read = (): Promise<Buffer[]> => Promise.all([file, `${file}-wal`].map((path) => readFile(path)));
    const before = await read();
    expect(before[1]?.length).toBeGreaterThan(0);
    expect(() => SyncState.open(file)).toThrow(expect.objectContaining({ code: "invalid" }));
    expect(await read()).toEqual(before);
  });
});
