import fc from "fast-check";
import {
  decodeTreeNode,
  encodeTreeNode,
  type Hash,
  type Key,
  parseKey,
  sha256,
  type TreeVersion,
} from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { editTree } from "../../src/state/tree/edit.ts";
import type { Edit } from "../../src/state/tree/edit-type.ts";
import type { FreshNodes } from "../../src/state/tree/node-reader.ts";
import type { PackedNode } from "../../src/state/tree/packed-node.ts";
import { diffTrees, entriesFrom, getEntry, treeTotals } from "../../src/state/tree/read.ts";

/** Nodes in memory. A tree that is there keeps its version, whatever one that is begun would have. */
class Nodes {
  readonly #version: TreeVersion;
  readonly all = new Map<Hash, PackedNode>();
  readonly bytes = new Map<Hash, Uint8Array>();

  constructor(version: TreeVersion) {
    this.#version = version;
  }

  node = (hash: Hash): PackedNode => {
    const node = this.all.get(hash);
    if (node === undefined) throw new Error(`no node ${hash}`);
    return node;
  };

  apply(root: Hash | null, edits: readonly Edit[], fresh: FreshNodes): Hash | null | Promise<Hash | null> {
    const other = this.#version === 1 ? 2 : 1;
    return editTree(this, root, edits, fresh, root === null ? this.#version : other);
  }

  async edit(root: Hash | null, edits: readonly Edit[]): Promise<{ root: Hash | null; made: number }> {
    const fresh: FreshNodes = new Map();
    const next = await this.apply(root, edits, fresh);
    for (const [hash, node] of fresh) {
      this.all.set(hash, node);
      this.bytes.set(hash, node.bytes);
    }
    return { root: next, made: fresh.size };
  }
}

const hashOf = (value: number): Hash => sha256(`value ${value}`);
const sorted = (model: ReadonlyMap<Key, number>): Edit[] =>
  [...model].sort((a, b) => (a[0] < b[0] ? -1 : 1)).map(([key, v]) => ({ key, hash: hashOf(v), size: v }));

async function readAll(nodes: Nodes, root: Hash | null): Promise<[Key, Hash][]> {
  const all: [Key, Hash][] = [];
  for await (const leaf of entriesFrom(nodes, root, "" as Key)) for (const { key, hash } of leaf) all.push([key, hash]);
  return all;
}

const keys = fc
  .oneof(
    fc.string({ minLength: 1, maxLength: 6, unit: "binary" }),
    fc.integer({ min: 0, max: 400 }).map((n) => `/k/${n}`),
  )
  .filter((text) => text.isWellFormed() && !text.includes("\0"))
  .map(parseKey);
const step = fc.array(fc.tuple(keys, fc.option(fc.nat(1000))), { minLength: 1, maxLength: 60 });

describe.for([1, 2] as const)("the tree, version %i", (version) => {
  test("one edit at a time gives the root that all at once give, whatever the edit is", async () => {
    const dense = fc.tuple(
      fc.integer({ min: 0, max: 150 }).map((n) => parseKey(`/k/${n}`)),
      fc.option(fc.nat(300), { freq: 3 }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(dense, { minLength: 50, maxLength: 400 }), async (edits) => {
        const nodes = new Nodes(version);
        let root: Hash | null = null;
        const model = new Map<Key, number>();
        let atOnce = 0;
        for (const [key, value] of edits) {
          if (value === null) model.delete(key);
          else model.set(key, value);
          const edit = { key, hash: value === null ? null : hashOf(value), size: value ?? 0 };
          const fresh: FreshNodes = new Map();
          const next = nodes.apply(root, [edit], fresh);
          if (!(next instanceof Promise)) atOnce++;
          root = await next;
          for (const [hash, node] of fresh) {
            expect(encodeTreeNode({ ...decodeTreeNode(node.bytes) }).equals(node.bytes)).toBe(true);
            expect(sha256(node.bytes)).toBe(hash);
            nodes.all.set(hash, node);
          }
        }
        expect(root).toBe(await new Nodes(version).apply(null, sorted(model), new Map()));
        expect(atOnce).toBeGreaterThan(edits.length / 2);
      }),
      { numRuns: 60 },
    );
  });

  test("keys that are put behind all others one at a time, as those of a log are", async () => {
    const nodes = new Nodes(version);
    const model = new Map<Key, number>();
    let root: Hash | null = null;
    let atOnce = 0;
    for (let i = 0; i < 3000; i++) {
      // Of different lengths, and with different beginnings at last.
      const key = parseKey(`/log/${String(i).padStart(6, "0")}${"-".repeat((i * 7) % 23)}${i % 500 === 0 ? "中" : ""}`);
      model.set(key, i);
      const fresh: FreshNodes = new Map();
      const next = nodes.apply(root, [{ key, hash: hashOf(i), size: i }], fresh);
      if (!(next instanceof Promise)) atOnce++;
      root = await next;
      for (const [hash, node] of fresh) {
        expect(encodeTreeNode(decodeTreeNode(node.bytes)).equals(node.bytes)).toBe(true);
        nodes.all.set(hash, node);
      }
      if (i % 97 === 0) expect(root).toBe((await new Nodes(version).edit(null, sorted(model))).root);
    }
    expect(await treeTotals(nodes, root)).toEqual({ count: 3000, bytes: (3000 * 2999) / 2 });
    // All but those behind the end of a node.
    expect(atOnce).toBeGreaterThan(3000 * 0.85);
  });

  test("holds what a Map holds, has one root for equal contents, and diffs as the model does", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const nodes = new Nodes(version);
        let root: Hash | null = null;
        const model = new Map<Key, number>();
        for (const changes of steps) {
          const before = new Map(model);
          const beforeRoot = root;
          const edits = new Map<Key, number | null>(changes);
          for (const [key, value] of edits) {
            if (value === null) model.delete(key);
            else model.set(key, value);
          }
          const list = [...edits]
            .sort((a, b) => (a[0] < b[0] ? -1 : 1))
            .map(([key, v]) => ({ key, hash: v === null ? null : hashOf(v), size: v ?? 0 }));
          root = (await nodes.edit(root, list)).root;
          expect(await readAll(nodes, root)).toEqual(sorted(model).map(({ key, hash }) => [key, hash]));
          expect((await nodes.edit(null, sorted(model))).root).toBe(root);
          const bytes = [...model.values()].reduce((sum, v) => sum + v, 0);
          expect(await treeTotals(nodes, root)).toEqual({ count: model.size, bytes });
          const differences: unknown[] = [];
          for await (const d of diffTrees(nodes, beforeRoot, nodes, root)) {
            differences.push([d.key, d.from?.hash ?? null, d.to?.hash ?? null]);
          }
          const expected = [...new Set([...before.keys(), ...model.keys()])]
            .filter((key) => before.get(key) !== model.get(key))
            .sort()
            .map((key) => [key, hashAt(before, key), hashAt(model, key)]);
          expect(differences).toEqual(expected);
          for (const key of edits.keys()) {
            expect((await getEntry(nodes, root, key))?.hash ?? null).toBe(hashAt(model, key));
          }
        }
        for (const [hash, bytes] of nodes.bytes) expect(sha256(bytes)).toBe(hash);
      }),
      { numRuns: 60 },
    );
  });

  test("does not depend on the order or the grouping of edits", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.nat(5000), { minLength: 1, maxLength: 800 }),
        fc.integer({ min: 1, max: 97 }),
        async (numbers, group) => {
          const nodes = new Nodes(version);
          const model = new Map(numbers.map((n) => [parseKey(`/k/${n}`), n]));
          const whole = (await nodes.edit(null, sorted(model))).root;
          let root: Hash | null = null;
          for (let i = 0; i < numbers.length; i += group) {
            const part = new Map(numbers.slice(i, i + group).map((n) => [parseKey(`/k/${n}`), n]));
            root = (await nodes.edit(root, sorted(part))).root;
          }
          expect(root).toBe(whole);
          const gone = numbers
            .slice(0, numbers.length >> 1)
            .map((n) => parseKey(`/k/${n}`))
            .sort();
          const less = (
            await nodes.edit(
              root,
              gone.map((key) => ({ key, hash: null, size: 0 })),
            )
          ).root;
          for (const key of gone) model.delete(key);
          expect(less).toBe((await nodes.edit(null, sorted(model))).root);
        },
      ),
      { numRuns: 40 },
    );
  });

  test("100,000 keys: nodes stay small, and an edit rewrites one path", { timeout: 60_000 }, async () => {
    const nodes = new Nodes(version);
    const model = new Map<Key, number>();
    for (let i = 0; i < 100_000; i++) model.set(parseKey(`/notes/${hashOf(i).slice(0, 16)}`), i);
    const { root } = await nodes.edit(null, sorted(model));
    const sizes = [...nodes.all.values()].map((node) => node.bytes.length).sort((a, b) => a - b);
    const at = (list: readonly number[], q: number): number => list[Math.floor(q * (list.length - 1))] as number;
    expect(at(sizes, 0.5)).toBeGreaterThan(200 * version);
    expect(at(sizes, 0.99)).toBeLessThan(1200 * version);
    expect(at(sizes, 1)).toBeLessThanOrEqual(NODE_BYTES[version]);
    const height = nodes.node(root as Hash).level + 1;
    expect(height).toBeLessThanOrEqual({ 1: 8, 2: 6 }[version]);

    const all = [...model.keys()];
    for (const make of [
      (i: number): Edit => ({ key: all[(i * 7919) % all.length] as Key, hash: hashOf(-i), size: 1 }),
      (i: number): Edit => ({ key: parseKey(`/notes/${hashOf(-i).slice(0, 16)}`), hash: hashOf(i), size: 1 }),
      (i: number): Edit => ({ key: all[(i * 7919) % all.length] as Key, hash: null, size: 0 }),
    ]) {
      const made: number[] = [];
      for (let i = 1; i <= 2000; i++) made.push((await nodes.edit(root, [make(i)])).made);
      made.sort((a, b) => a - b);
      expect(at(made, 0.5)).toBeLessThanOrEqual(height);
      expect(at(made, 0.99)).toBeLessThanOrEqual(height + EXTRA_NODES_P99);
      expect(at(made, 1)).toBeLessThanOrEqual(height + EXTRA_NODES_MAX);
    }
  });

  test("a long key in every entry still gives inner nodes of two children or more", async () => {
    const nodes = new Nodes(version);
    const model = new Map<Key, number>();
    for (let i = 0; i < 300; i++) model.set(parseKey(`${"x".repeat(1000)}${String(i).padStart(24, "0")}`), i);
    const { root } = await nodes.edit(null, sorted(model));
    expect(await readAll(nodes, root)).toHaveLength(300);
    expect(nodes.node(root as Hash).level).toBeLessThanOrEqual(9);
  });
});

/** Largest node in bytes: the hard limit of a node's weight, plus the entry that reaches it. */
const NODE_BYTES: Record<TreeVersion, number> = { 1: 4200, 2: 7300 };
/** Nodes that an edit writes beyond one for each level: 99 of 100 edits, and at most. */
const EXTRA_NODES_P99 = 6;
const EXTRA_NODES_MAX = 20;

function hashAt(model: ReadonlyMap<Key, number>, key: Key): Hash | null {
  const value = model.get(key);
  return value === undefined ? null : hashOf(value);
}
