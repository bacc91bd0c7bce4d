import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  checkProof,
  type Commit,
  commitOfProof,
  encodeCommit,
  encodeTreeNode,
  type Hash,
  hashCommit,
  hashSnapshot,
  type Key,
  makeProof,
  parseAgentName,
  parseKey,
  type Proof,
  type Proven,
  sha256,
  type Snapshot,
  type TreeNode,
  VlinderError,
} from "../src/index.ts";

interface Entry {
  readonly key: Key;
  readonly hash: Hash;
  readonly size: number;
}

/** A tree of any shape over entries: what a proof is checked against says nothing of where nodes end. */
class Tree {
  readonly nodes = new Map<Hash, TreeNode>();
  readonly root: Hash | null;

  constructor(entries: readonly Entry[], fanout: number) {
    let row = this.#cut(
      entries.map((entry) => ({ ...entry, count: 1 })),
      0,
      fanout,
    );
    for (let level = 1; row.length > 1; level++) row = this.#cut(row, level, fanout);
    this.root = row[0]?.hash ?? null;
  }

  #cut(rows: readonly (Entry & { count: number })[], level: number, fanout: number): (Entry & { count: number })[] {
    const above = [];
    for (let at = 0; at < rows.length; at += fanout) {
      const some = rows.slice(at, at + fanout);
      const node: TreeNode = {
        version: 2,
        level,
        keys: some.map(({ key }) => key),
        hashes: some.map(({ hash }) => hash),
        sizes: some.map(({ size }) => size),
        counts: level === 0 ? [] : some.map(({ count }) => count),
      };
      above.push({ key: some.at(-1)?.key as Key, ...this.add(node) });
    }
    return above;
  }

  add(node: TreeNode): { hash: Hash; size: number; count: number } {
    const hash = sha256(encodeTreeNode(node));
    this.nodes.set(hash, node);
    const total = (numbers: readonly number[]): number => numbers.reduce((sum, one) => sum + one, 0);
    return { hash, size: total(node.sizes), count: node.level === 0 ? node.keys.length : total(node.counts) };
  }

  path(key: Key): TreeNode[] {
    const path: TreeNode[] = [];
    for (let hash = this.root; hash !== null;) {
      const node = this.nodes.get(hash) as TreeNode;
      path.push(node);
      hash = (node.level === 0 ? undefined : node.hashes[node.keys.findIndex((one) => one >= key)]) ?? null;
    }
    return path;
  }
}

function stateOf(root: Hash | null): { snapshot: Snapshot; commit: Commit; hash: Hash } {
  const snapshot: Snapshot = { contract: null, kv: root, vectors: null };
  const commit: Commit = {
    v: 1,
    agent: parseAgentName("todo"),
    branch: sha256("branch"),
    parents: [sha256("parent")],
    snapshot: hashSnapshot(snapshot),
    event: { kind: "kv.put", info: { "a\\b": ["ü", 1.5, null] } },
    time: "2026-11-20T21:40:00.123Z",
  };
  return { snapshot, commit, hash: hashCommit(commit) };
}

function proofOf(tree: Tree, key: Key): { proof: Proof; hash: Hash; snapshot: Hash } {
  const { snapshot, commit, hash } = stateOf(tree.root);
  const proof = makeProof({ key, space: "kv" }, Buffer.from(encodeCommit(commit)), snapshot, tree.path(key));
  return { proof, hash, snapshot: hashSnapshot(snapshot) };
}

const entryOf = (text: string): Entry => ({ key: parseKey(text), hash: sha256(text), size: text.length });
const entries = fc
  .uniqueArray(fc.string({ minLength: 1, maxLength: 6, unit: fc.constantFrom("a", "b", "c", "/", "é", "😀") }), {
    maxLength: 60,
  })
  .map((texts) => texts.map(entryOf).toSorted((a, b) => (a.key < b.key ? -1 : 1)));
const TREE = new Tree(["/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h", "/i"].map(entryOf), 2);

/** The answer, or null when the proof is refused; anything else thrown is a mistake. */
function answer(proof: unknown, commit: Hash, key: Key): Proven | null {
  try {
    return checkProof(proof, { key, trusted: { commit } });
  } catch (error) {
    if (error instanceof VlinderError && error.code === "invalid") return null;
    throw error;
  }
}

describe("a proof", () => {
  test("says of every key what the tree says, from the commit's hash or the snapshot's", () => {
    fc.assert(
      fc.property(
        entries,
        fc.integer({ min: 2, max: 5 }),
        fc.string({ minLength: 1, maxLength: 6 }),
        (all, fanout, other) => {
          const tree = new Tree(all, fanout);
          for (const key of [...all.map((one) => one.key), parseKey(other.toWellFormed().replaceAll("\0", "x"))]) {
            const found = all.find((one) => one.key === key);
            const expected =
              found === undefined ? { present: false } : { present: true, hash: found.hash, size: found.size };
            const { proof, hash, snapshot } = proofOf(tree, key);
            const sent = JSON.parse(JSON.stringify(proof)) as unknown;
            expect(checkProof(sent, { key, trusted: { commit: hash } })).toEqual(expected);
            expect(checkProof(sent, { key, trusted: { snapshot } })).toEqual(expected);
            expect(commitOfProof(sent)).toBe(hash);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test("of absence: in an empty tree, between keys, before the first, beyond the last", () => {
    const empty = proofOf(new Tree([], 2), parseKey("/a"));
    expect(empty.proof.nodes).toEqual([]);
    expect(answer(empty.proof, empty.hash, parseKey("/a"))).toEqual({ present: false });
    const nodes = proofOf(TREE, parseKey("/a")).proof.nodes;
    expect(answer({ ...empty.proof, nodes }, empty.hash, parseKey("/a"))).toBeNull();
    for (const [text, nodes] of [
      ["/cc", 4],
      ["/", 4],
      ["/z", 1],
    ] as const) {
      const { proof, hash } = proofOf(TREE, parseKey(text));
      expect(proof.nodes).toHaveLength(nodes);
      expect(answer(proof, hash, parseKey(text))).toEqual({ present: false });
    }
  });

  test("with any bit flipped is refused, or says the same", () => {
    for (const text of ["/d", "/dd", "/zz"]) {
      const key = parseKey(text);
      const { proof, hash } = proofOf(TREE, key);
      const right = answer(proof, hash, key);
      expect(right).not.toBeNull();
      const bytes = Buffer.from(JSON.stringify(proof));
      let refused = 0;
      for (let bit = 0; bit < 8 * bytes.length; bit++) {
        const other = Buffer.from(bytes);
        other[bit >> 3] = (other[bit >> 3] as number) ^ (1 << (bit & 7));
        let parsed: unknown;
        try {
          parsed = JSON.parse(other.toString("utf8"));
        } catch {
          continue;
        }
        const found = answer(parsed, hash, key);
        if (found === null) refused++;
        else expect(found, `bit ${bit}`).toEqual(right);
      }
      expect(refused).toBeGreaterThan(bytes.length);
    }
  });

  test("that was put together otherwise is refused", () => {
    const key = parseKey("/d");
    const { proof, hash } = proofOf(TREE, key);
    const [a, b, c, d] = proof.nodes as [string, string, string, string];
    const elsewhere = proofOf(TREE, parseKey("/g")).proof;
    const other = proofOf(new Tree(["/a", "/x"].map(entryOf), 2), key);
    const lists = [
      [],
      [a],
      [a, b, c],
      [a, b, c, d, d],
      [b, c, d],
      [a, c, b, d],
      [d, c, b, a],
      [a, b, c, c],
      elsewhere.nodes,
      other.proof.nodes,
    ];
    for (const nodes of lists) expect(answer({ ...proof, nodes }, hash, key)).toBeNull();
    const changed: unknown[] = [
      other.proof,
      { ...proof, commit: other.proof.commit },
      { ...proof, snapshot: other.proof.snapshot },
      { ...other.proof, commit: proof.commit },
      { ...proof, space: "vectors" },
      { ...proof, key: "/g" },
      { ...proof, v: 2 },
      { ...proof, more: 1 },
      { ...proof, nodes: proof.nodes.map((node) => node.replaceAll("=", "")) },
      { ...proof, nodes: proof.nodes.map((node) => `${node}\n`) },
      { ...proof, nodes: "AQAB" },
      { ...proof, nodes: [...proof.nodes, 7] },
      { ...proof, snapshot: { ...proof.snapshot, kv: null } },
      { ...proof, snapshot: null },
      { ...proof, commit: null },
      { ...proof, commit: "{}" },
      [],
      null,
      "proof",
      7,
    ];
    for (const one of changed) expect(answer(one, hash, key), JSON.stringify(one)).toBeNull();
    expect(answer(proof, sha256("another commit"), key)).toBeNull();
    expect(answer(proof, hash, parseKey("/g"))).toBeNull();
    expect(() => checkProof(proof, { key, trusted: { snapshot: sha256("another") } })).toThrow(
      "its snapshot is another one",
    );
    expect(() => checkProof(proof, { key, space: "vectors", trusted: { commit: hash } })).toThrow("it is about kv");
  });
});

/** A tree that nobody honest makes: hashes fit, and what nodes say of each other does not. */
function forged(change: (child: TreeNode, above: TreeNode) => [TreeNode, Partial<TreeNode>]): Proof & { hash: Hash } {
  const leaf = (...texts: string[]): TreeNode => {
    const all = texts.map(entryOf);
    return {
      version: 2,
      level: 0,
      keys: all.map((e) => e.key),
      hashes: all.map((e) => e.hash),
      sizes: all.map((e) => e.size),
      counts: [],
    };
  };
  const tree = new Tree([], 2);
  const [left, right] = [leaf("/a", "/b"), leaf("/c", "/d")];
  const above: TreeNode = {
    version: 2,
    level: 1,
    keys: ["/b", "/d"].map(parseKey),
    hashes: [tree.add(left).hash, tree.add(right).hash],
    sizes: [4, 4],
    counts: [2, 2],
  };
  const [child, more] = change(right, above);
  const root: TreeNode = { ...above, hashes: [above.hashes[0] as Hash, tree.add(child).hash], ...more };
  const { snapshot, commit, hash } = stateOf(tree.add(root).hash);
  const proof = makeProof({ key: parseKey("/d"), space: "kv" }, Buffer.from(encodeCommit(commit)), snapshot, [
    root,
    child,
  ]);
  return { ...proof, hash };
}

describe("a tree that is not one", () => {
  const refused = (change: Parameters<typeof forged>[0], why: string): void => {
    const { hash, ...proof } = forged(change);
    expect(() => checkProof(proof, { key: parseKey("/d"), trusted: { commit: hash } })).toThrow(why);
  };
  const entry = (text: string) => ({ keys: [parseKey(text)], hashes: [sha256(text)], sizes: [2] });

  test("as it is, is one", () => {
    const { hash, ...proof } = forged((child) => [child, {}]);
    expect(answer(proof, hash, parseKey("/d"))).toEqual({ present: true, hash: sha256("/d"), size: 2 });
  });
  test("another format", () =>
    refused((child) => [{ ...child, version: 1 }, {}], "a node is of another format than the one above it"));
  test("another last key", () =>
    refused((child) => [{ ...child, keys: ["/c", "/e"].map(parseKey) }, {}], "other keys"));
  test("a first key that belongs to the left", () =>
    refused((child) => [{ ...child, keys: ["/b", "/d"].map(parseKey) }, {}], "other keys"));
  test("another level", () =>
    refused((child) => [{ ...child, level: 1, counts: [1, 1] }, { counts: [2, 2] }], "another level"));
  test("levels left out", () => refused((child) => [child, { level: 2 }], "another level"));
  test("another number of bytes", () => refused((child) => [child, { sizes: [4, 5] }], "other totals"));
  test("another number of keys", () =>
    refused((child) => [{ ...child, ...entry("/d") }, { sizes: [4, 2] }], "other totals"));

  test("a node in another spelling", () => {
    const { hash: _hash, ...proof } = forged((child) => [child, {}]);
    // The second key has "/" in common with the first, and says that it has nothing.
    const leaf = Buffer.from(proof.nodes[1] as string, "base64");
    const at = leaf.indexOf(sha256("/c"), "hex") + 33;
    const spelled = Buffer.concat([
      leaf.subarray(0, at),
      Buffer.from([0, 2]),
      Buffer.from("/d"),
      leaf.subarray(at + 3),
    ]);
    expect(() => checkWith(spelled)).toThrow("a prefix is not the longest");
    const cut = leaf.subarray(0, -1);
    expect(() => checkWith(cut)).toThrow(VlinderError);

    function checkWith(root: Buffer): Proven {
      const { snapshot, commit, hash } = stateOf(sha256(root));
      const whole = {
        ...proof,
        commit: JSON.parse(encodeCommit(commit)) as unknown,
        snapshot,
        nodes: [root.toString("base64")],
      };
      return checkProof(whole, { key: parseKey("/d"), trusted: { commit: hash } });
    }
  });
});
