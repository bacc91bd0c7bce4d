import { encodeTreeNode, type Hash, hashSnapshot, MAIN, parseKey, sha256 } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { cutChunks } from "../../src/state/chunks.ts";
import { conflictKey } from "../../src/state/conflict-key.ts";
import { keyHash } from "../../src/state/tree/boundary.ts";
import { editTree } from "../../src/state/tree/edit.ts";
import type { FreshNodes } from "../../src/state/tree/node-reader.ts";
import type { PackedNode } from "../../src/state/tree/packed-node.ts";
import { valueObjects } from "../../src/state/value-cutter.ts";
import { contract, key, openEngine, put } from "./harness.ts";
import { machine, meet } from "./machines.ts";
import { noise } from "./property.ts";

const ROOTS = [
  {
    version: 1 as const,
    levels: [
      "13 10 12 10 4 3 7 13 1 3 7 10 4 3 5 8 8 10 15 10 9 9 11 9 8 8 9 5 9 4 14 10 6 12 9 11 10 16 7 6 13 4 5 2 9 4 16 7 7 15 10 10 4 7 16 10 20 14 16 6 4 13 10 2 20 5 10 14 16 9 5 13 11 20 10 7 9 10 15 3 11 9 4 8 10 12 3 8 13 14 13 8 11 7 5 5 6 7 6 8 9 5 12 7 6 10 10 11 6 13 4",
      "15 6 4 8 7 11 2 5 7 7 8 5 9 9 8",
      "3 9 3",
      "3",
    ],
    root: "c00893f3b77f9dd0692e62aec506e2ed277a47360cf22546048797c3127efadd",
  },
  {
    version: 2 as const,
    levels: [
      "35 14 23 21 4 8 26 15 13 26 17 22 13 24 27 37 13 13 4 7 13 23 7 15 24 23 30 36 17 10 27 49 29 32 26 16 20 12 10 12 11 13 14 22 17 16 13 8 9 22 8 27 27",
      "10 15 27 1",
      "4",
    ],
    root: "5717b3cd4f022ce7bb23b1898d69abaea27879a6cc0c0175b3c83f93937b646c",
  },
];

/** What stands here is format: with another hash, machines of two releases no longer agree. */
describe("golden hashes", () => {
  test("the first commits of the agent todo, without clock and device", async () => {
    const { engine, clock } = await openEngine({ device: 7 });
    clock.tick(123_456_789);
    const head = engine.branch(MAIN);
    expect(head.id).toBe("111bd0f5f3c6ac763d6a4078eb04f70a009dfc2d315430e973265029c8d23ca7");
    expect(head.head).toBe("b7b15c25eba4d72eef280c48ffb2e6923d6a3215210a4f3e7abcc3a684c229e4");
    expect((await engine.commit(head.head)).parents).toEqual([head.id]);
    expect((await engine.commit(head.head)).time).toBeUndefined();
    expect(hashSnapshot({ contract: null, kv: null, vectors: null })).toBe((await engine.commit(head.id)).snapshot);
  });

  test("contents: root, snapshot and commit", async () => {
    const { engine } = await openEngine();
    const state = (await put(engine, {
      "/todos.json": '["milk","eggs"]',
      "/é": "",
      "/large": noise(3, 100_000),
    })) as Hash;
    const view = await engine.view(state);
    expect(view.snapshot.contract).toBe("8c05cd455e6c31e9281d972563a5b7021594d94e39371f005b8b100c9ec930a1");
    expect(view.snapshot.kv).toBe("b5a2f1a33a7e8668a20950aa4e889bb55f712339a94559e30b660d44f3917a3a");
    expect((await engine.commit(state)).snapshot).toBe(
      "0c6b6fbc498670a240197ba5b78fe9ea8eb295251ac47fa169475cacfeaea362",
    );
    expect(state).toBe("5420f75e455bf577455f826262bb17dcffeabcec285fc689f6189475f0d35efc");
  });

  test.for(ROOTS)(
    "1,000 keys, version $version: the sizes of the nodes, level by level, and the root",
    async (golden) => {
      const fresh: FreshNodes = new Map();
      const nodes = {
        node(hash: Hash): never {
          throw new Error(`no node ${hash} is stored`);
        },
      };
      const edits = Array.from({ length: 1000 }, (_, i) => parseKey(`/notes/${sha256(`key ${i}`).slice(0, 8)}`))
        .sort()
        .map((name) => ({ key: name, hash: sha256(name), size: name.length }));
      const root = (await editTree(nodes, null, edits, fresh, golden.version)) as Hash;
      const levels: number[][] = [];
      const visit = (hash: Hash): void => {
        const node = (fresh.get(hash) as PackedNode).unpacked();
        (levels[node.level] ??= []).push(node.keys.length);
        if (node.level > 0) for (const child of node.hashes) visit(child);
      };
      visit(root);
      expect(levels.map((sizes) => sizes.join(" "))).toEqual(golden.levels);
      expect(root).toBe(golden.root);
      expect(sha256(encodeTreeNode((fresh.get(root) as PackedNode).unpacked()))).toBe(root);
    },
  );

  test("the hash of a key that decides boundaries is MurmurHash3 x86 32", () => {
    const of = (text: string, seed: number): string =>
      keyHash(Buffer.from(text, "latin1"), text.length, seed).toString(16).padStart(8, "0");
    // Vectors of the reference implementation.
    expect([
      of("", 0),
      of("", 1),
      of("test", 0),
      of("Hello, world!", 0),
      of("The quick brown fox jumps over the lazy dog", 0),
    ]).toEqual(["00000000", "514e28b7", "ba6bd213", "c0363e43", "2e4ff723"]);
    expect(of("aaa", 0x9747b28c)).toBe("283e0130");
    expect(of(parseKey("/é/日本"), 2)).toBe("889bd37c");
  });

  test("chunks of 1 MB: boundaries and list", () => {
    const bytes = noise(1, 1_000_000);
    const sizes = [...cutChunks(bytes)].map((chunk) => chunk.length);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(bytes.length);
    expect(Math.min(...sizes.slice(0, -1))).toBeGreaterThan(4 * 1024);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(64 * 1024);
    expect(sizes.join(" ")).toBe(
      "11359 5740 21196 7213 13348 18485 15541 21866 10454 15512 7284 11362 14315 25405 9521 7282 5779 17427 15434 10502 12570 4276 10358 14681 4817 5843 21786 8966 12532 15184 13389 11046 9107 15995 4280 4637 17953 5052 12655 16340 9560 6355 7669 6619 13613 13460 14299 15851 17796 4841 13265 15875 4446 17485 7741 11157 17141 10736 20865 16322 23850 16245 19132 14077 21316 4129 11069 8055 12792 13368 13507 13908 12798 12990 13651 14441 9084 19436 7912 6652",
    );
    const list = valueObjects(sha256(bytes), bytes).at(-1);
    expect([list?.kind, list?.hash]).toEqual(["list", sha256(bytes)]);
    expect(sha256(list?.bytes ?? "")).toBe("982f6bc053dff4f28d7a8ea03235a62619e0c188c5c35b845640aa23008a38bf");
  });

  test("the lists of a value of 16 MB, on two levels", () => {
    const bytes = noise(2, 16_000_000);
    const objects = valueObjects(sha256(bytes), bytes);
    const lists = objects.filter(({ kind }) => kind === "list");
    expect(lists.length).toBeGreaterThan(2);
    expect(lists.map(({ hash }) => hash).at(-1)).toBe(sha256(bytes));
    expect(sha256(Buffer.concat(lists.map((list) => list.bytes)))).toBe(
      "d7daed7a5ec0c55c23ab1ae9f373151cd091c79abff9879fdd6dafdce318bb12",
    );
  });

  test("a merge of two machines, and the key of what it keeps beside", async () => {
    const [a, b] = [await machine(1, contract({ "/n/": "newest" })), await machine(2, contract({ "/n/": "newest" }))];
    await put(a.engine, { "/k": "a", "/n/k": "a" });
    b.clock.tick(1);
    await put(b.engine, { "/k": "b", "/n/k": "b" });
    await meet(a.engine, b.engine);
    expect(a.engine.branch(MAIN).head).toBe(b.engine.branch(MAIN).head);
    expect(a.engine.branch(MAIN).head).toBe("ebf163c37f7489cb223acb4bafd71aa774ff243d70a929a643c235051a633551");
    expect(conflictKey(key("/k"), sha256("a"))).toBe("/k.conflict-356e12ade0586fd1");
    expect(conflictKey(key(`/${"é".repeat(511)}`), sha256("a")).slice(-30)).toBe("Ã©Ã©.conflict-298dd7d82779a745");
  });
});

describe("chunking", () => {
  test("1 KB changed in the middle of 8 MB makes at most 64 KB of new chunks in 99 of 100", () => {
    const bytes = noise(5, 8 * 1024 * 1024);
    const chunksOf = (value: Uint8Array): Map<string, number> =>
      new Map([...cutChunks(value)].map((chunk) => [sha256(chunk), chunk.length]));
    const made: number[] = [];
    // Around the change it is enough to look at: what is far from it is cut alike.
    for (let i = 0; i < 300; i++) {
      const at = 512 * 1024 + i * 22_003;
      const window = bytes.subarray(at - 512 * 1024, at + 512 * 1024);
      const changed = Buffer.from(window);
      noise(i, 1024).copy(changed, 512 * 1024);
      const before = chunksOf(window);
      const after = chunksOf(changed);
      made.push([...after].reduce((sum, [hash, size]) => sum + (before.has(hash) ? 0 : size), 0));
    }
    made.sort((x, y) => x - y);
    expect(made[Math.floor(0.99 * (made.length - 1))]).toBeLessThanOrEqual(64 * 1024);
    expect(made[0]).toBeGreaterThan(0);
  });

  test("an insertion and a removal leave the chunks behind it alone", () => {
    const bytes = noise(6, 1_000_000);
    const known = new Set([...cutChunks(bytes)].map((chunk) => sha256(chunk)));
    for (const changed of [
      Buffer.concat([bytes.subarray(0, 300_000), Buffer.from("inserted"), bytes.subarray(300_000)]),
      Buffer.concat([bytes.subarray(0, 300_000), bytes.subarray(300_123)]),
    ]) {
      const fresh = [...cutChunks(changed)].filter((chunk) => !known.has(sha256(chunk)));
      expect(fresh.length).toBeGreaterThan(0);
      expect(fresh.reduce((sum, chunk) => sum + chunk.length, 0)).toBeLessThan(128 * 1024);
    }
  });
});
