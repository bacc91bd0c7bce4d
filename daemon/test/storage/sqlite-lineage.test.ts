import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hash as hashOnce } from "node:crypto";
import { type Hash, sha256 } from "@vlinder/protocol";
import { afterAll, expect, test } from "vitest";
import { openSqliteObjects } from "../../src/storage/backends/sqlite/sqlite-objects.ts";
import { Lineage, type ObjectStorage, type StoredObject, type Transaction } from "../../src/storage/object-storage.ts";

const folder = await mkdtemp(join(tmpdir(), "vlinder-lineage-"));
const opened: ObjectStorage[] = [];
afterAll(async () => {
  for (const storage of opened) await storage.close();
  await rm(folder, { recursive: true });
});

async function open(name: string): Promise<ObjectStorage> {
  const storage = await openSqliteObjects({ path: join(folder, `${name}.db`), durability: "process" });
  opened.push(storage);
  return storage;
}

/** Numbers from 0 to 1 that are the same in every run. */
function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const holding = (...objects: StoredObject[]): Transaction => ({ objects, branches: [], replies: [] });

/** A node of twelve hashes; `n` says which versions of which entries it has. */
function node(versions: readonly number[], name: string): Buffer {
  return Buffer.concat(versions.map((version, i) => hashOnce("sha256", `${name} ${i} ${version}`, "buffer")));
}

function version(bytes: Buffer, lineage: Lineage): StoredObject {
  return { kind: "node", hash: sha256(bytes), bytes, lineage };
}

async function sizes(storage: ObjectStorage): Promise<Map<Hash, number>> {
  const found = new Map<Hash, number>();
  for await (const names of storage.names?.("node") ?? []) for (const { hash, size } of names) found.set(hash, size);
  return found;
}

test("versions are stored as differences, also while the one before is on its way", async () => {
  const storage = await open("under-way");
  const lineage = new Lineage(null);
  const versions = Array.from({ length: 40 }, (_, i) => node([i, ...Array<number>(11).fill(0)], "one"));
  const [first, ...rest] = versions.map((bytes) => version(bytes, lineage)) as [StoredObject, ...StoredObject[]];
  await storage.apply(holding(first));
  lineage.stored = first.hash;
  expect(lineage.base, "its place is noted, not looked up").not.toBeNull();
  await Promise.all(rest.map((one) => storage.apply(holding(one))));
  const stored = await sizes(storage);
  expect(stored.get(first.hash)).toBe(first.bytes.length);
  for (const { hash, bytes } of rest) expect(stored.get(hash)).toBeLessThan(bytes.length / 4);
});

test("a version that was read from the file has its base noted", async () => {
  const storage = await open("read");
  const [a, b] = [node([1, 1, 1, 1], "read"), node([1, 1, 2, 1], "read")];
  await storage.apply(holding(version(a, new Lineage(null))));
  const lineage = new Lineage(sha256(a));
  expect(storage.readNow?.("node", sha256(a), lineage)).toEqual(a);
  expect(lineage.base).not.toBeNull();
  await storage.apply(holding(version(b, lineage)));
  expect((await sizes(storage)).get(sha256(b))).toBeLessThan(b.length);
});

test("what is stored on a difference that was read rests on the same base, with its bytes", async () => {
  const storage = await open("third");
  const [a, b, c] = [3, 4, 5].map((at) =>
    node(
      Array.from({ length: 12 }, (_, i) => (i === at ? 1 : 0)),
      "third",
    ),
  );
  const first = new Lineage(null);
  await storage.apply(holding(version(a as Buffer, first)));
  await storage.apply(holding(version(b as Buffer, first)));
  const hash = sha256(b as Buffer);
  expect((await sizes(storage)).get(hash)).toBeLessThan((b as Buffer).length / 4);
  const lineage = new Lineage(hash);
  expect(storage.readNow?.("node", hash, lineage)).toEqual(b);
  const { bytes } = lineage.base as { bytes: Buffer };
  expect([bytes, bytes.buffer.byteLength], "the base, in memory of its own").toEqual([a, (a as Buffer).length]);
  await storage.apply(holding(version(c as Buffer, lineage)));
  expect((await sizes(storage)).get(sha256(c as Buffer))).toBeLessThan((c as Buffer).length / 4);
  expect(storage.readNow?.("node", sha256(c as Buffer))).toEqual(c);
});

const pairs: [string, readonly [string, string]][] = [
  ["two databases", ["left", "right"]],
  ["one database twice, as two processes have it", ["both", "both"]],
];

test.each(pairs)(
  "%s, lineages that both share, removals and space given back: all reads as written",
  async (_, files) => {
    const next = numbers(7);
    const below = (n: number): number => Math.floor(next() * n);
    const storages = [await open(files[0]), await open(files[1])] as const;
    const contents = new Map(files.map((file) => [file, new Map<Hash, Buffer>()]));
    const there = files.map((file) => contents.get(file) as Map<Hash, Buffer>);
    const nodes = Array.from({ length: 6 }, (_, n) => {
      return { name: `node ${n}`, versions: Array<number>(12).fill(0), lineage: new Lineage(null) };
    });
    for (let step = 0; step < 400; step++) {
      const which = below(2);
      const [storage, own] = [storages[which] as ObjectStorage, there[which] as Map<Hash, Buffer>];
      const what = below(20);
      if (what === 0) {
        const hashes = [...own.keys()].filter(() => next() < 0.3);
        await storage.remove("node", hashes);
        for (const hash of hashes) own.delete(hash);
      } else if (what === 1) {
        while ((await storage.reclaim(1 << 20)) > 0);
      } else {
        const objects = nodes
          .filter(() => next() < 0.5)
          .map(({ name, versions, lineage }) => {
            versions[below(12)] = step;
            return version(node(versions, name), lineage);
          });
        await storage.apply(holding(...objects));
        // As the engine does when it is durable; of several databases, it is the last one's.
        for (const { hash, bytes, lineage } of objects) {
          own.set(hash, bytes as Buffer);
          if (lineage !== undefined) lineage.stored = hash;
        }
      }
    }
    for (const [which, own] of there.entries()) {
      expect(own.size).toBeGreaterThan(60);
      const storage = await openSqliteObjects({
        path: join(folder, `${files[which]}.db`),
        durability: "process",
      });
      opened.push(storage);
      for (const [hash, bytes] of own) expect((await storage.read("node", [hash]))[0]).toEqual(bytes);
      expect([...(await sizes(storage)).values()].filter((size) => size < 12 * 16).length).toBeGreaterThan(20);
    }
  },
);

test("replies of this process are found when others have written between them", async () => {
  const mine = await open("shared");
  const others = await open("shared");
  const reply = (id: string) => ({ id, request: sha256("asked"), reply: `"${id}"`, time: 1_700_000_000_000 });
  const answer = (id: string): Transaction => ({ objects: [], branches: [], replies: [reply(id)] });
  await mine.apply(answer("first"));
  expect(mine.replyNow?.("first")?.reply).toBe('"first"');
  expect(mine.replyNow?.("never")).toBeNull();
  for (let i = 0; i < 20; i++) {
    await Promise.all([others.apply(answer(`other-${i}`)), mine.apply(answer(`mine-${i}`))]);
    expect(mine.replyNow?.(`mine-${i}`)?.reply).toBe(`"mine-${i}"`);
  }
});
