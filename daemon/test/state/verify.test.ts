import { type BranchName, type Commit, decodeTreeNode, encodeCommit, type Hash, MAIN, sha256 } from "@vlinder/protocol";
import { beforeEach, describe, expect, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import type { Kind, StoredObject } from "../../src/storage/object-storage.ts";
import { contents, key, openEngine, put, type TestClock } from "./harness.ts";
import { noise } from "./property.ts";

const LARGE = noise(7, 150_000);
const SHARED = Buffer.from("under two keys");

let storage: MemoryObjects;
let engine: StateEngine;
let clock: TestClock;
/** Commits by what they did. */
let commits: Record<"shared" | "large" | "many" | "again" | "stored" | "last", Hash>;

beforeEach(async () => {
  storage = new MemoryObjects("memory://verify");
  ({ engine, clock } = await openEngine({ storage }));
  const write = async (values: Parameters<typeof put>[1]): Promise<Hash> => {
    clock.tick();
    return (await put(engine, values)) as Hash;
  };
  const shared = await write({ "/shared": SHARED });
  const large = await write({ "/large": LARGE });
  const many = await write(Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`/many/${i}`, `${i}`])));
  const again = await write({ "/again": SHARED });
  // 64 commits along, so that trees have been stored in between.
  for (let i = 0; i < 70; i++) await write({ [`/step/${i % 10}`]: `step ${i}` });
  clock.tick();
  const { state: stored } = await engine.rewind(MAIN, many);
  const last = await write({ "/last": "last" });
  commits = { shared, large, many, again, stored, last };
});

async function bytesOf(kind: Kind, hash: Hash): Promise<Uint8Array> {
  const [bytes] = await storage.read(kind, [hash]);
  if (bytes == null) throw new Error(`${kind} ${hash} is not here`);
  return bytes;
}

async function replace(object: StoredObject): Promise<void> {
  await storage.remove(object.kind, [object.hash]);
  await storage.apply({ objects: [object], branches: [], replies: [] });
}

async function flip(kind: Kind, hash: Hash, at?: number): Promise<void> {
  const bytes = Buffer.from(await bytesOf(kind, hash));
  const i = at ?? bytes.length >> 1;
  bytes[i] = (bytes[i] as number) ^ 0x10;
  await replace({ kind, hash, bytes });
}

/** Storage that says what is damaged, and an engine that has nothing of it in its caches. */
async function damage(at?: Hash): Promise<Record<string, unknown>[]> {
  const fresh = await openEngine({ storage, contract: null });
  const report = await fresh.engine.verify(at);
  return report.damage.map(({ kind, hash, problem, commits, keys }) => ({ kind, hash, problem, commits, keys }));
}

const many = async (): Promise<Hash> => (await engine.commit(commits.many)).changes as Hash;
const chunks = async (): Promise<Hash[]> => {
  const found: Hash[] = [];
  for await (const { kind, hash } of engine.objectsOf(await engine.commit(commits.large)))
    if (kind === "chunk") found.push(hash);
  return found;
};
const rootAt = async (commit: Hash): Promise<Hash> => (await engine.view(commit)).snapshot.kv as Hash;

describe("verify", () => {
  test("is clean where nothing is damaged, and counts all of it", async () => {
    const { counts, bytes, damage } = await engine.verify();
    expect(damage).toEqual([]);
    const usage = await storage.usage();
    expect(counts.branches).toBe(1);
    expect(counts.commits).toBe(usage.counts.commit);
    expect(counts.nodes).toBe(usage.counts.node);
    expect(counts.values).toBe(usage.counts.value + 1);
    expect(bytes).toBeGreaterThan(LARGE.length);
  });

  for (const [what, hurt] of [
    ["damaged", (kind: Kind, hash: Hash) => flip(kind, hash)],
    ["missing", (kind: Kind, hash: Hash) => storage.remove(kind, [hash])],
  ] as const) {
    test(`${what}: a value, with every key and commit that has it`, async () => {
      const hash = sha256(SHARED);
      await hurt("value", hash);
      expect(await damage()).toEqual([
        {
          kind: "value",
          hash,
          problem: what,
          commits: expect.arrayContaining([commits.shared, commits.again]),
          keys: ["/shared", "/again"],
        },
      ]);
      expect(await damage(commits.shared)).toEqual([
        { kind: "value", hash, problem: what, commits: [commits.shared], keys: ["/shared"] },
      ]);
    });

    test(`${what}: a chunk`, async () => {
      const [, hash] = (await chunks()) as [Hash, Hash];
      await hurt("chunk", hash);
      expect(await damage()).toEqual([
        { kind: "chunk", hash, problem: what, commits: expect.arrayContaining([commits.large]), keys: ["/large"] },
      ]);
    });

    test(`${what}: a change list`, async () => {
      const hash = await many();
      await hurt("changes", hash);
      expect(await damage()).toContainEqual({
        kind: "changes",
        hash,
        problem: what,
        commits: [commits.many],
        keys: [],
      });
      expect((await damage()).filter(({ kind }) => kind !== "changes")).toEqual([]);
    });

    test(`${what}: a commit`, async () => {
      await hurt("commit", commits.large);
      const found = await damage();
      expect(found).toEqual([
        { kind: "commit", hash: commits.large, problem: what, commits: [commits.many], keys: [] },
      ]);
    });

    test(`${what}: a node of a stored tree`, async () => {
      const hash = await rootAt(commits.stored);
      await hurt("node", hash);
      const keys = expect.arrayContaining([expect.stringMatching(/^\/many\//)]) as unknown;
      expect(await damage()).toEqual([{ kind: "node", hash, problem: what, commits: [commits.many], keys }]);
    });

    test(`${what}: a node, seen from a state that is rebuilt over it`, async () => {
      const hash = await rootAt(commits.stored);
      await hurt("node", hash);
      expect(await damage(commits.last)).toEqual([
        { kind: "node", hash, problem: what, commits: [commits.last], keys: [] },
      ]);
    });
  }

  test("missing: a chunk list", async () => {
    const hash = sha256(LARGE);
    await storage.remove("list", [hash]);
    expect(await damage()).toEqual([
      { kind: "list", hash, problem: "missing", commits: expect.arrayContaining([commits.large]), keys: ["/large"] },
    ]);
  });

  test("damaged: a chunk list, in whatever byte", async () => {
    const hash = sha256(LARGE);
    const { length } = await bytesOf("list", hash);
    for (const at of [0, 1, 2, 4, 8, 16, 48, length - 1]) {
      await flip("list", hash, at);
      const found = await damage();
      expect(found.length, `byte ${at}`).toBeGreaterThan(0);
      expect(
        found.some(({ kind, keys }) => (kind === "list" || kind === "chunk") && (keys as string[]).includes("/large")),
      ).toBe(true);
      await expect(engine.requiredValue(hash, LARGE.length)).rejects.toMatchObject({ code: "internal" });
      await flip("list", hash, at);
    }
    expect(await damage()).toEqual([]);
  });

  test("damaged: a list of the parts in another order", async () => {
    const hash = sha256(LARGE);
    const list = Buffer.from(await bytesOf("list", hash));
    const [one, two] = [list.subarray(16, 56), list.subarray(56, 96)].map((part) => Buffer.from(part)) as [
      Buffer,
      Buffer,
    ];
    await replace({ kind: "list", hash, bytes: Buffer.concat([list.subarray(0, 16), two, one, list.subarray(96)]) });
    expect(await damage()).toEqual([
      { kind: "list", hash, problem: "wrong", commits: expect.arrayContaining([commits.large]), keys: ["/large"] },
    ]);
  });

  test("damaged: a snapshot; a missing one is computed", async () => {
    const { snapshot: hash } = await engine.commit(commits.stored);
    await flip("snapshot", hash);
    expect(await damage()).toContainEqual({
      kind: "snapshot",
      hash,
      problem: "damaged",
      commits: expect.arrayContaining([commits.stored]),
      keys: [],
    });
    await storage.remove("snapshot", [hash]);
    expect(await damage()).toEqual([]);
  });

  test("missing: every snapshot; history is replayed from its start", async () => {
    for (const { hash } of await storage.scan("snapshot", null, 1000)) await storage.remove("snapshot", [hash]);
    expect(await damage()).toEqual([]);
    const { engine: again } = await openEngine({ storage, contract: null });
    expect(await contents(again)).toEqual(await contents(engine));
  });

  test("a branch to nowhere", async () => {
    const nowhere = sha256("nowhere");
    const move = {
      id: sha256("a branch"),
      name: "lost",
      expected: null,
      next: nowhere,
      why: "test",
      time: clock.now().toISOString(),
    };
    await storage.apply({ objects: [], branches: [move], replies: [] });
    expect(await damage()).toEqual([
      { kind: "branch", hash: nowhere, problem: "missing", commits: [nowhere], keys: [] },
    ]);
  });

  test("a commit whose changes do not give its snapshot", async () => {
    const parent = await engine.commit(commits.last);
    const wrong: Commit = { ...parent, parents: [commits.last], changes: { kv: [[key("/shared"), null, 0]] } };
    const text = encodeCommit(wrong);
    const hash = sha256(text);
    const { id } = engine.branch(MAIN);
    const move = { id, name: "main", expected: commits.last, next: hash, why: "test", time: clock.now().toISOString() };
    await storage.apply({
      objects: [{ kind: "commit", hash, bytes: Buffer.from(text) }],
      branches: [move],
      replies: [],
    });
    expect(await damage()).toEqual([{ kind: "commit", hash, problem: "wrong", commits: [hash], keys: [] }]);
    expect(await damage(hash)).toEqual([{ kind: "commit", hash, problem: "wrong", commits: [hash], keys: [] }]);
    expect(await damage(commits.last)).toEqual([]);
  });

  test("behind a damaged commit the rest is still looked at", async () => {
    await storage.remove("commit", [commits.large]);
    const value = sha256("step 69");
    await flip("value", value);
    const root = await rootAt(commits.stored);
    await flip("node", root);
    const found = await damage();
    expect(found.map(({ kind, hash }) => `${kind as string} ${hash as string}`).sort()).toEqual(
      [`commit ${commits.large}`, `node ${root}`, `value ${value}`].sort(),
    );
  });

  test("damage that only a fork reaches", async () => {
    const { state } = await engine.fork("side" as BranchName, commits.large);
    await put(engine, { "/only here": "side" }, "side" as BranchName);
    expect(state).toBe(commits.large);
    const hash = sha256("side");
    await storage.remove("value", [hash]);
    expect(await damage()).toEqual([
      { kind: "value", hash, problem: "missing", commits: [expect.any(String)], keys: ["/only here"] },
    ]);
    expect(await damage(commits.last)).toEqual([]);
  });
});

describe("a value that grows", () => {
  test("is hashed from where its versions part, and a damage is said of each that has it", async () => {
    const it = await openEngine();
    const whole = noise(5, 900_000);
    const versions: Hash[] = [];
    for (let size = 600_000; size <= 900_000; size += 50_000) {
      versions.push((await put(it.engine, { "/transcript": whole.subarray(0, size) })) as Hash);
    }
    const other = Buffer.from(whole);
    other[300_000] = (other[300_000] as number) ^ 1;
    await put(it.engine, { "/other": other });
    const clean = await it.engine.verify();
    expect(clean).toMatchObject({ damaged: 0, unreachable: 0, counts: { values: versions.length + 2 } });
    expect(clean.bytes).toBeLessThan(4_000_000);
    const parts: Hash[] = [];
    for await (const { kind, hash } of it.engine.objectsOf(await it.engine.commit(versions[0] as Hash))) {
      if (kind === "chunk") parts.push(hash);
    }
    const hurt = async (hash: Hash): Promise<void> => {
      const bytes = Buffer.from((await it.storage.read("chunk", [hash]))[0] as Uint8Array);
      bytes[7] = (bytes[7] as number) ^ 1;
      await it.storage.remove("chunk", [hash]);
      await it.storage.apply({ objects: [{ kind: "chunk", hash, bytes }], branches: [], replies: [] });
    };
    for (const [part, affected] of [
      [parts.at(-1), 1],
      [parts[0], versions.length + 1],
    ] as const) {
      await hurt(part as Hash);
      const { damage } = await it.engine.verify();
      expect(damage.find(({ hash }) => hash === part)).toMatchObject({
        kind: "chunk",
        problem: "damaged",
        affects: { commits: affected, keys: affected },
      });
    }
  });
});

describe("many branches that grow in turns", () => {
  test("are computed again where their states were not kept", { timeout: 120_000 }, async () => {
    const it = await openEngine();
    const values = (round: number, branch: number) =>
      Object.fromEntries(
        Array.from({ length: 220 }, (_, i) => [`/k/${(i * 41 + branch * 7) % 9000}`, `${round} ${branch} ${i}`]),
      );
    await put(it.engine, Object.fromEntries(Array.from({ length: 9000 }, (_, i) => [`/k/${i}`, `${i}`])));
    const base = await it.engine.resolve(MAIN);
    const names = Array.from({ length: 24 }, (_, i) => `b${i}` as BranchName);
    for (const name of names) await it.engine.fork(name, base);
    for (let round = 0; round < 2; round++) {
      for (const [i, name] of names.entries()) await put(it.engine, values(round, i), name);
    }
    expect(await it.engine.verify()).toMatchObject({
      damaged: 0,
      unreachable: 0,
      counts: { branches: 25, commits: 51 },
    });
  });
});

describe("tree objects", () => {
  test("are all nodes of a state, between stored trees too, and its snapshot", async () => {
    for (const commit of [commits.large, commits.many, commits.again, commits.stored, commits.last]) {
      const nodes = new Map<Hash, Uint8Array>();
      const snapshots: Hash[] = [];
      for await (const { kind, hash, bytes } of engine.treeObjects(commit)) {
        expect(sha256(bytes)).toBe(hash);
        if (kind === "node") nodes.set(hash, bytes);
        else snapshots.push(hash);
      }
      expect(snapshots).toEqual([(await engine.commit(commit)).snapshot]);
      const open = [await rootAt(commit)];
      let seen = 0;
      for (let hash = open.pop(); hash !== undefined; hash = open.pop()) {
        const node = decodeTreeNode(nodes.get(hash) as Uint8Array);
        if (node.level > 0) open.push(...node.hashes);
        seen++;
      }
      expect(seen).toBe(nodes.size);
    }
  });
});

describe("verify of a long history", () => {
  test("5,000 commits", { timeout: 120_000 }, async () => {
    const it = await openEngine();
    for (let i = 0; i < 5000; i += 500) {
      await Promise.all(
        Array.from({ length: 500 }, (_, j) => put(it.engine, { [`/k${(i + j) % 700}`]: `value ${i + j}` })),
      );
    }
    let seen = 0;
    const start = performance.now();
    const report = await it.engine.verify(null, {
      progress: (done) => {
        seen = done;
      },
    });
    const seconds = (performance.now() - start) / 1000;
    const perSecond = Math.round(report.counts.commits / seconds);
    process.stdout.write(`verify: ${perSecond} commits/s, ${(report.bytes / 1e6 / seconds).toFixed(1)} MB/s\n`);
    expect(report.damage).toEqual([]);
    expect(report.counts.commits).toBe(5002);
    expect(seen).toBeGreaterThan(4900);
  });
});
