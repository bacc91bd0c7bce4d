import { closeSync, copyFileSync, openSync, readSync, statSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type BranchName,
  decodeSnapshot,
  encodeVectorRecord,
  type Hash,
  MAIN,
  parseKey,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import type { VerifyReport } from "../../src/state/verify/run-verify.ts";
import { openSqliteObjects } from "../../src/storage/backends/sqlite/sqlite-objects.ts";
import type { Kind, ObjectStorage } from "../../src/storage/object-storage.ts";
import { deleteRow, flipBit, flipEverywhere } from "../storage/damage.ts";
import { contents, openEngine, put } from "./harness.ts";
import { holds, noise } from "./property.ts";

const LARGE = noise(11, 200_000);
const SHARED = Buffer.from("a value that two keys have, and that is found by its bytes");
const RECORD = encodeVectorRecord({ vector: Float32Array.of(1, 0.5, 0.25), model: "verify", metadata: { n: 1 } });
const SIDE = "side" as BranchName;

interface Known {
  readonly kind: Kind;
  readonly hash: Hash;
  readonly bytes: Uint8Array;
  /** A commit that needs it. */
  readonly commit: Hash;
  /** The keys that need it. */
  readonly keys: readonly string[];
}

let folder: string;
/** A database with one of everything. */
let original: string;
let whole: Record<string, string>;
let known: Readonly<Record<string, Known>>;
let copies = 0;
/** One stays open, so that the writing threads need not start anew each time. */
let other: ObjectStorage;

const open = (path: string): Promise<ObjectStorage> => openSqliteObjects({ path, durability: "process" });

async function read(storage: ObjectStorage, kind: Kind, hash: Hash): Promise<Uint8Array> {
  const [bytes] = await storage.read(kind, [hash]);
  if (bytes == null) throw new Error(`${kind} ${hash} is not here`);
  return bytes;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vlinder-verify-"));
  original = join(folder, "objects.db");
  other = await open(join(folder, "other.db"));
  const storage = await open(original);
  const { engine, clock } = await openEngine({ storage });
  const write = async (values: Parameters<typeof put>[1], branch: BranchName = MAIN): Promise<Hash> => {
    clock.tick();
    return (await put(engine, values, branch)) as Hash;
  };
  const shared = await write({ "/shared": SHARED });
  const large = await write({ "/large": LARGE });
  const again = await write({ "/again": SHARED });
  const many = await write(Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`/many/${i}`, `many ${i}`])));
  const ops = [{ key: parseKey("/v"), value: { hash: sha256(RECORD), bytes: RECORD } }];
  const { state: vector } = await engine.write({ space: "vectors", kind: "vector.put", branch: MAIN, ops });
  await engine.fork(SIDE, vector);
  const side = await write({ "/side": "what only the side has" }, SIDE);
  await write({ "/side": "what main has there" });
  clock.tick();
  const { state: merged } = await engine.merge(MAIN, side);
  // So many that trees are stored in between, and so few that it is verified without a thread.
  for (let i = 0; i < 100; i++) await write({ [`/step/${i % 40}`]: `step ${i}` });

  const conflicts = (await engine.commit(merged)).event.values?.["conflicts"]?.[0] as Hash;
  const changes = (await engine.commit(many)).changes as Hash;
  const [chunk] = await storage.scan("chunk", null, 1);
  // The newest state whose trees are stored.
  let stored: { readonly commit: Hash; readonly snapshot: Hash; readonly bytes: Uint8Array } | null = null;
  for await (const { hash, commit } of engine.log(engine.branch(MAIN).head)) {
    const [bytes] = await storage.read("snapshot", [commit.snapshot]);
    if (bytes == null) continue;
    stored = { commit: hash, snapshot: commit.snapshot, bytes };
    break;
  }
  if (stored === null) throw new Error("no trees are stored");
  const { kv, contract } = decodeSnapshot(stored.bytes);
  const object = async (kind: Kind, hash: Hash, commit: Hash, ...keys: string[]): Promise<Known> => {
    return { kind, hash, bytes: await read(storage, kind, hash), commit, keys };
  };
  known = {
    value: await object("value", sha256(SHARED), again, "/shared", "/again"),
    chunk: await object("chunk", chunk?.hash as Hash, large, "/large"),
    "vector record": await object("value", sha256(RECORD), vector, "/v"),
    "list of a merge's conflicts": await object("value", conflicts, merged, "(conflicts)"),
    contract: await object("value", contract as Hash, (await firstCommits(engine))[1], "(contract)"),
    "change list": await object("changes", changes, many),
    commit: await object("commit", large, again),
    node: await object("node", kv as Hash, stored.commit),
    snapshot: await object("snapshot", stored.snapshot, stored.commit),
    list: await object("list", sha256(LARGE), large, "/large"),
  };
  whole = await contents(engine);
  expect(shared).not.toBe(again);
  await engine.close();
}, 60_000);

afterAll(async () => {
  await other.close();
  await rm(folder, { recursive: true, force: true });
});

async function firstCommits(engine: StateEngine): Promise<[Hash, Hash]> {
  const all: Hash[] = [];
  for await (const { hash } of engine.log(engine.branch(MAIN).head)) all.push(hash);
  return [all.at(-1) as Hash, all.at(-2) as Hash];
}

/** What verify says of a copy of the database that was damaged. */
async function verified(damage: (path: string) => void | Promise<void>, at?: Hash): Promise<VerifyReport> {
  const path = join(folder, `copy-${++copies}.db`);
  copyFileSync(original, path);
  await damage(path);
  const { engine } = await openEngine({ storage: await open(path), contract: null });
  try {
    return await engine.verify(at);
  } finally {
    await engine.close();
  }
}

const NAMES = [
  "value",
  "chunk",
  "vector record",
  "list of a merge's conflicts",
  "contract",
  "change list",
  "commit",
  "node",
  "snapshot",
];

describe("verify of a database", () => {
  test("is clean where nothing is damaged, and counts what nothing reaches", async () => {
    const report = await verified(() => {});
    expect(report).toMatchObject({ damaged: 0, damage: [], unreachable: 0, counts: { branches: 2, commits: 110 } });
    const orphan = Buffer.from("nothing names it");
    const more = await verified(async (path) => {
      const storage = await open(path);
      await storage.apply({
        objects: [{ kind: "value", hash: sha256(orphan), bytes: orphan }],
        branches: [],
        replies: [],
      });
      await storage.close();
    });
    expect(more).toMatchObject({ damaged: 0, unreachable: 1, counts: report.counts });
  });

  test("on a thread of its own, while others write, with progress", async () => {
    const path = join(folder, `copy-${++copies}.db`);
    copyFileSync(original, path);
    const { bytes, hash } = known["value"] as Known;
    flipBit(path, bytes);
    const { engine } = await openEngine({ storage: await open(path), contract: null });
    await Promise.all(Array.from({ length: 700 }, (_, i) => put(engine, { [`/more/${i}`]: `more ${i}` })));
    const seen: number[][] = [];
    const verifying = engine.verify(null, { progress: (done, total) => seen.push([done, total]) });
    const joined = engine.verify();
    expect(joined).toBe(verifying);
    let isDone = false;
    void verifying.finally(() => (isDone = true));
    let puts = 0;
    while (!isDone) await put(engine, { "/meanwhile": String(puts++) });
    const { damage, counts } = await verifying;
    expect(damage).toMatchObject([{ kind: "value", hash, problem: "damaged", keys: ["/shared", "/again"] }]);
    expect(counts.commits).toBeGreaterThanOrEqual(810);
    expect(puts).toBeGreaterThan(1);
    for (const [done, total] of seen) expect(done).toBeLessThanOrEqual(total as number);
    // It ends with its engine.
    const broken = engine.verify().catch((error: unknown) => error);
    await engine.close();
    expect(await broken).toMatchObject({ code: "unavailable" });
  });

  test.each(NAMES)("a flipped bit: %s", async (name) => {
    const { kind, hash, bytes, commit, keys } = known[name] as Known;
    const { damaged, damage } = await verified((path) => flipBit(path, bytes));
    expect(damage).toHaveLength(1);
    expect(damaged).toBe(1);
    expect(damage[0]).toMatchObject({ kind, hash, problem: "damaged" });
    expect(damage[0]?.commits).toContain(commit);
    if (kind !== "node") expect(damage[0]?.keys).toEqual(keys);
    else expect(damage[0]?.keys.length).toBeGreaterThan(0);
    expect(damage[0]?.affects.commits).toBeGreaterThanOrEqual(damage[0]?.commits.length ?? 0);
  });

  const removed = (kind: Kind, hash: Hash) =>
    verified(async (path) => {
      const storage = await open(path);
      await storage.remove(kind, [hash]);
      await storage.close();
    });

  test.each(NAMES)("an object that is not there: %s", async (name) => {
    const { kind, hash, commit } = known[name] as Known;
    const { damage } = await removed(kind as Kind, hash);
    // A snapshot is computed where it is not stored: nothing is lost with it.
    if (kind === "snapshot") return expect(damage).toEqual([]);
    expect(damage).toContainEqual(expect.objectContaining({ kind, hash, problem: "missing" }));
    expect(damage.find((one) => one.hash === hash)?.commits).toContain(commit);
  });

  test.each(NAMES)("a deleted row, with all objects that lay in it: %s", async (name) => {
    const { kind, hash, bytes } = known[name] as Known;
    const { damage } = await verified((path) => deleteRow(path, bytes));
    expect(damage.length).toBeGreaterThan(0);
    // With a commit, the way to what lies behind it is lost.
    const isNamed = damage.some((one) => one.kind === kind && one.hash === hash);
    expect(isNamed || damage.some((one) => one.kind === "commit")).toBe(true);
    for (const { problem } of damage) expect(problem).toBe("missing");
  });

  test("a chunk list: of its bits, each is found", async () => {
    const { hash, bytes } = known["list"] as Known;
    for (const at of [1, 4, 9, 16, 60, bytes.length - 1]) {
      const { damage } = await verified((path) => flipBit(path, bytes, at));
      expect(damage.length, `byte ${at}`).toBeGreaterThan(0);
      for (const { keys } of damage) expect(keys).toEqual(["/large"]);
    }
    const gone = await removed("list", hash);
    expect(gone.damage).toContainEqual(expect.objectContaining({ kind: "list", hash, problem: "missing" }));
  });

  test("a branch that points nowhere", async () => {
    const nowhere = sha256("nowhere");
    const { damage } = await verified(async (path) => {
      const storage = await open(path);
      const time = new Date().toISOString();
      const move = { id: sha256("lost"), name: "lost", expected: null, next: nowhere, why: "test", time };
      await storage.apply({ objects: [], branches: [move], replies: [] });
      await storage.close();
    });
    expect(damage).toMatchObject([{ kind: "branch", hash: nowhere, problem: "missing" }]);
    expect(damage[0]?.message).toContain('"lost"');
  });

  test("an index that has lost an object: what can't be found by its hash is missing, though its bytes are there", async () => {
    // A commit's hash lies nowhere else as bytes, apart from the reflog.
    const { kind, hash } = known["commit"] as Known;
    let found: Uint8Array | null | undefined;
    const { damage } = await verified(async (path) => {
      // However a backend shortens the hashes in its index, it keeps their first bytes.
      expect(flipEverywhere(path, Buffer.from(hash.slice(0, 12), "hex"))).toBeGreaterThan(0);
      const storage = await open(path);
      [found] = await storage.read(kind, [hash]);
      await storage.close();
    });
    if (found === null) expect(damage).toMatchObject([{ kind, hash, problem: "missing" }]);
    else expect(damage).toEqual([]);
  });

  test("one state only", async () => {
    const { hash, bytes, commit } = known["vector record"] as Known;
    const hurt = (path: string): void => flipBit(path, bytes);
    expect((await verified(hurt, commit)).damage).toMatchObject([{ hash, commits: [commit], keys: ["/v"] }]);
    expect((await verified(hurt, known["change list"]?.commit)).damage).toEqual([]);
  });

  test("any bit of the file: it is found, or nothing has changed", { timeout: 120_000 }, async () => {
    const { size } = statSync(original);
    const outcomes: Record<string, number> = {};
    const property = fc.asyncProperty(
      fc.integer({ min: 0, max: size - 1 }),
      fc.integer({ min: 0, max: 7 }),
      async (at, bit) => {
        const outcome = await flipped(at, bit);
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      },
    );
    await holds("flipped bits of a database", property, 40);
    process.stdout.write(`${JSON.stringify(outcomes)}\n`);
    expect(outcomes["found"]).toBeGreaterThan(0);
  });
});

/** Flips one bit of the file, wherever it is. */
async function flipped(at: number, bit: number): Promise<"found" | "refused" | "intact"> {
  const path = join(folder, `copy-${++copies}.db`);
  copyFileSync(original, path);
  const file = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, at);
  byte[0] = (byte[0] as number) ^ (1 << bit);
  writeSync(file, byte, 0, 1, at);
  closeSync(file);
  let engine: StateEngine | null = null;
  try {
    ({ engine } = await openEngine({ storage: await open(path), contract: null }));
    const { damaged } = await engine.verify();
    if (damaged > 0) return "found";
    expect(await contents(engine)).toEqual(whole);
    return "intact";
  } catch (error) {
    if (!(error instanceof VlinderError)) throw error;
    return "refused";
  } finally {
    await engine?.close();
    await rm(path, { force: true });
  }
}
