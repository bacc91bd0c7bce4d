import { copyFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import Database from "better-sqlite3";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { sha256 } from "@vlinder/protocol";
import { openVectorStorage, resetVectorStorage } from "../../src/storage/vectors/open.ts";
import { SqliteVectorStorage } from "../../src/storage/vectors/sqlite.ts";
import { expected, openIndex } from "./index-fixture.ts";
import { ModelHistory } from "./model-history.ts";

const folder = await mkdtemp(join(tmpdir(), "vlinder-index-file-"));
const first = await openVectorStorage(`sqlite://${join(folder, "first.db")}`, { dimension: 1, metric: "l2" });
afterAll(async () => {
  await first.close();
  await rm(folder, { recursive: true, force: true });
});
let files = 0;
const newPath = () => join(folder, `${++files}.db`);

/** A history with deletes and overwrites on two branches, and a closed index of it. */
async function built(): Promise<{ history: ModelHistory; path: string }> {
  const history = new ModelHistory({ metric: "cosine", dimension: 4 });
  const path = newPath();
  const index = await openIndex(history, `sqlite://${path}`);
  for (let i = 0; i < 60; i++)
    history.put(history.main, `k${i % 40}`, [i, 1, i % 7, i % 3], { n: i, lang: i % 2 ? "en" : "de" });
  const fork = history.fork("fork", history.head(history.main));
  for (let i = 0; i < 10; i++) history.delete(fork, `k${i}`);
  await index.catchUp();
  await index.close();
  return { history, path };
}

async function searchesAreRight(history: ModelHistory, path: string): Promise<readonly string[]> {
  const index = await openIndex(history, `sqlite://${path}`);
  try {
    const query = { vector: Float32Array.of(3, 1, 2, 0), limit: 5 };
    const commits = [...history.commits.keys()];
    for (const commit of [
      ...commits.filter((_, i) => i % 9 === 0),
      ...history.branches().map(({ head }) => head as never),
    ]) {
      expect(await index.search(await history.view(commit), query)).toEqual(expected(history, commit, "cosine", query));
    }
    await index.catchUp();
    for (const { head } of history.branches()) {
      expect(await index.search(await history.view(head as never), query)).toEqual(
        expected(history, head as never, "cosine", query),
      );
    }
    expect(index.status().state).toBe("ready");
    expect(await index.count()).toBe(60);
    return index.status().notes;
  } finally {
    await index.close();
  }
}

describe("a damaged index file", () => {
  it("is used as it is when it is whole", async () => {
    const { history, path } = await built();
    expect(await searchesAreRight(history, path)).toEqual([]);
  });

  it.each<[string, (path: string) => Promise<void>]>([
    ["deleted", (path) => rm(path)],
    ["empty", (path) => truncate(path, 0)],
    ["cut short", (path) => truncate(path, 3 * 16384)],
    ["cut inside a page", (path) => truncate(path, 20_000)],
    ["garbage", (path) => writeFile(path, Buffer.alloc(70_000, "not a database "))],
    [
      "another program's database",
      async (path) => {
        await rm(path);
        new Database(path).exec("create table notes (text)").close();
      },
    ],
    [
      "of an older version",
      async (path) =>
        void new Database(path)
          .exec("update meta set value = 0 where name = 'version'; pragma user_version = 0")
          .close(),
    ],
    [
      "short of a row",
      async (path) =>
        void new Database(path).exec("delete from rows where id = 7; delete from vectors where id = 7").close(),
    ],
    ["wrong in a mark", async (path) => void new Database(path).exec("update rows set live = 0 where id = 50").close()],
    [
      "wrong in a vector",
      async (path) => void new Database(path).exec("update vectors set vector = zeroblob(16) where id = 1").close(),
    ],
    [
      "wrong in its position",
      async (path) => void new Database(path).exec("update meta set value = '{}' where name = 'position'").close(),
    ],
  ])("%s: is built again, and every search is right", async (what, damage) => {
    const { history, path } = await built();
    await damage(path);
    const notes = await searchesAreRight(history, path);
    // A missing or empty file is a new one.
    expect(notes.length > 0).toBe(!["deleted", "empty"].includes(what));
    expect(await searchesAreRight(history, path)).toEqual([]);
  });

  it("with any bytes flipped gives no wrong result", async () => {
    const { history, path } = await built();
    const bytes = await readFile(path);
    let noticed = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
        const copy = newPath();
        const damaged = Buffer.from(bytes);
        // Several in a row, as a bad sector makes them.
        for (let i = at; i < Math.min(at + 8, damaged.length); i++) damaged[i] = (damaged[i] as number) ^ mask;
        await writeFile(copy, damaged);
        if ((await searchesAreRight(history, copy)).length > 0) noticed++;
      }),
      { numRuns: 60 },
    );
    expect(noticed).toBeGreaterThan(5);
  });

  it("of a newer version is refused and left alone, and searches read the records", async () => {
    const { history, path } = await built();
    new Database(path).exec("update meta set value = 2 where name = 'version'; pragma user_version = 2").close();
    const before = await readFile(path);
    await expect(openVectorStorage(`sqlite://${path}`, { dimension: 4, metric: "cosine" })).rejects.toMatchObject({
      code: "invalid",
      message: `${path} is a vector index of version 2; this release knows 1`,
      remedy: expect.stringContaining("update vlinder"),
    });
    expect(await readFile(path)).toEqual(before);
    const index = await openIndex(history, `sqlite://${path}`);
    const query = { vector: Float32Array.of(3, 1, 2, 0), limit: 5 };
    const head = history.head(history.main);
    expect(await index.search(await history.view(head), query)).toEqual(expected(history, head, "cosine", query));
    await expect(index.catchUp()).rejects.toMatchObject({ code: "invalid" });
    expect(index.status().state).toBe("failed");
    expect(await index.reindex()).toBe(60);
    expect(index.status().state).toBe("ready");
    await index.close();
  });
});

describe("opening", () => {
  it("refuses schemes and paths that it does not know", async () => {
    const shape = { dimension: 2, metric: "l2" } as const;
    for (const uri of ["redis://x", "", "sqlite://relative.db", "sqlite://"]) {
      await expect(openVectorStorage(uri, shape)).rejects.toMatchObject({
        code: "invalid",
        remedy: expect.any(String),
      });
    }
    await expect(resetVectorStorage("redis://x")).rejects.toMatchObject({ code: "invalid" });
    await expect(openVectorStorage("memory://x", { dimension: 4097, metric: "l2" })).rejects.toMatchObject({
      code: "invalid",
    });
  });

  it("says what is wrong when the folder can't be used", async () => {
    const uri = `sqlite://${join(folder, "no", "such", "folder.db")}`;
    await expect(openVectorStorage(uri, { dimension: 2, metric: "l2" })).rejects.toMatchObject({ code: "unavailable" });
  });

  it("finds what was written when the process ended without closing", async () => {
    const { path } = await built();
    const storage = await openVectorStorage(`sqlite://${path}`, { dimension: 4, metric: "cosine" });
    const row = { key: "new" as never, hash: sha256("new"), vector: Float32Array.of(1, 2, 3, 4), metadata: {} };
    await storage.add([row]);
    await storage.advance({ live: [row], dead: [], position: "later" });
    // The file and its log as a crash would leave them.
    const copy = newPath();
    for (const suffix of ["", "-wal"]) await copyFile(path + suffix, copy + suffix);
    const after = await openVectorStorage(`sqlite://${copy}`, { dimension: 4, metric: "cosine" });
    expect([await after.count(), await after.position()]).toEqual([61, "later"]);
    await after.close();
    await storage.close();
  });
});

describe("many rows", () => {
  const random = (() => {
    let state = 42;
    return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  })();
  const clustered = (dimension: number, clusters: number) => {
    const gauss = () => random() + random() + random() - 1.5;
    const centres = Array.from({ length: clusters }, () => Float32Array.from({ length: dimension }, gauss));
    return () => (centres[Math.floor(random() * clusters)] as Float32Array).map((x) => x + 0.7 * gauss());
  };
  /** Few words hashed to components: what the built-in embedder makes. Short queries against long texts. */
  const sparse = (dimension: number, words: number) => () => {
    const vector = new Float32Array(dimension);
    for (let i = 0; i < words; i++) {
      const word = Math.floor(Math.exp(random() * Math.log(5000)));
      const slot = Math.imul(word, 2654435761) >>> 0;
      vector[slot % dimension] = (vector[slot % dimension] as number) + (slot & 65536 ? 1 : -1) * Math.log(2 + word);
    }
    return vector;
  };

  it.each([
    ["clustered", clustered(64, 50), null],
    ["sparse", sparse(64, 40), sparse(64, 6)],
  ] as const)("the quantised pass finds the nearest of 10,000: %s", async (_name, make, ask) => {
    const rows = Array.from({ length: 10_000 }, (_, i) => ({
      key: `k${i}` as never,
      hash: sha256(String(i)),
      vector: make(),
      metadata: {},
    }));
    const shape = { dimension: 64, metric: "cosine" } as const;
    const exact = await openVectorStorage("memory://x", shape);
    const quantised = await SqliteVectorStorage.open({ uri: "sqlite://", path: newPath(), ...shape, exactRows: 1000 });
    const always = await SqliteVectorStorage.open({ uri: "sqlite://", path: newPath(), ...shape, exactRows: 1e9 });
    for (const storage of [exact, quantised, always]) await storage.add(rows);
    let hits = 0;
    for (let i = 0; i < 20; i++) {
      const query = { vector: (ask ?? make)(), limit: 10, liveOnly: false };
      const best = await exact.nearest(query);
      expect(await always.nearest(query)).toEqual(best);
      const names = new Set(best.map(({ hash }) => hash));
      hits += (await quantised.nearest(query)).filter(({ hash }) => names.has(hash)).length;
    }
    expect(hits / 200).toBeGreaterThanOrEqual(0.98);
    for (const storage of [exact, quantised, always]) await storage.close();
  });

  it("a search does not stall the event loop", async () => {
    const dimension = 256;
    const make = clustered(dimension, 20);
    const storage = await SqliteVectorStorage.open({
      uri: "sqlite://",
      path: newPath(),
      dimension,
      metric: "l2",
    });
    for (let part = 0; part < 15; part++) {
      await storage.add(
        Array.from({ length: 1000 }, (_, i) => {
          return { key: `${part}/${i}` as never, hash: sha256(`${part}/${i}`), vector: make(), metadata: {} };
        }),
      );
    }
    const started = performance.now();
    let turns = 0;
    let ended = false;
    const searches = Promise.all(
      Array.from({ length: 10 }, () => storage.nearest({ vector: make(), limit: 10, liveOnly: false })),
    ).then(() => (ended = true));
    while (!ended) {
      await new Promise((resolve) => setImmediate(resolve));
      turns++;
    }
    await searches;
    // On this thread each search would be one turn of the loop.
    const took = performance.now() - started;
    expect(turns / took).toBeGreaterThan(1);
    await storage.close();
  });
});

describe("a file that is somebody else's", () => {
  it("is not an index that was never closed: its mark is in the file from the start", async () => {
    const path = newPath();
    const storage = await openVectorStorage(`sqlite://${path}`, { dimension: 2, metric: "l2" });
    const header = await readFile(path);
    await storage.close();
    expect(header.readUInt32BE(68)).toBe(0x766c6e76);
  });

  it.each([
    ["a text", (path: string) => writeFile(path, "my thesis")],
    [
      "another database",
      async (path: string) => {
        const db = new Database(path);
        db.exec("create table photos (name text); insert into photos values ('mine')");
        db.close();
      },
    ],
  ])("is set aside whole, and not destroyed: %s", async (_, make) => {
    const path = newPath();
    await make(path);
    const before = await readFile(path);
    const history = new ModelHistory({ metric: "cosine", dimension: 4 });
    history.put(history.main, "a", [1, 2, 3, 4], {});
    const index = await openIndex(history, `sqlite://${path}`);
    await index.catchUp();
    expect(await index.count()).toBe(1);
    await index.close();
    const aside = (await readdir(folder)).filter((name) => name.startsWith(`${basename(path)}.set-aside-`));
    expect(aside).toHaveLength(1);
    expect(await readFile(join(folder, aside[0] as string))).toEqual(before);
  });
});
