import {
  type AgentName,
  canonicalJson,
  type Change,
  type Changes,
  type Commit,
  decodeCommit,
  encodeChanges,
  encodeChunkList,
  encodeCommit,
  encodeContract,
  encodeTreeNode,
  type Hash,
  hashSnapshot,
  type Json,
  MAIN,
  sha256,
  type TreeNode,
} from "@vlinder/protocol";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { cutChunks } from "../../src/state/chunks.ts";
import { applyChanges } from "../../src/state/head.ts";
import type { Kind, StoredObject } from "../../src/storage/object-storage.ts";
import { contents, contract, key, type Opened, put } from "./harness.ts";
import { machine, objectsFor, take } from "./machines.ts";
import { noise } from "./property.ts";

const LARGE = noise(1, 200_000);
let sender: Opened;
let receiver: Opened;
let known: Hash;
let good: StoredObject[];
let before: unknown;

/** All that can be seen of a machine's state. */
async function visible(): Promise<unknown> {
  const { engine } = receiver;
  const commits: Hash[] = [];
  for await (const { hash } of engine.log(engine.branch(MAIN).head)) commits.push(hash);
  return {
    branches: engine.branches(),
    commits,
    contents: await contents(engine),
    damage: (await engine.verify()).damage,
  };
}

beforeAll(async () => {
  sender = await machine(1);
  known = (await put(sender.engine, { "/known": "1" })) as Hash;
  sender.clock.tick(1000);
  await put(sender.engine, { "/a": "new value", "/large": LARGE });
  await put(sender.engine, Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`/many/${i}`, `${i}`])));
  good = await objectsFor(sender.engine, [sender.engine.branch(MAIN).head], [known]);
});

beforeEach(renew);

/** A machine that has the known commit and nothing of what comes after it. */
async function renew(): Promise<void> {
  receiver = await machine(2);
  const branch = { ...sender.engine.branch(MAIN), head: known };
  await take(receiver.engine, { objects: await objectsFor(sender.engine, [known]), branches: [branch] });
  before = await visible();
}

async function refused(objects: readonly StoredObject[], message?: RegExp): Promise<void> {
  const receiving = receiver.engine.receive(objects);
  await expect(receiving).rejects.toMatchObject({
    code: "invalid",
    ...(message === undefined ? {} : { message: expect.stringMatching(message) }),
  });
  for (const { hash } of objects.filter(({ kind }) => kind === "commit").slice(-1)) {
    expect(await receiver.engine.has([hash])).toEqual([false]);
  }
  expect(await visible()).toEqual(before);
  // What was refused keeps nothing good out that comes later.
  await receiver.engine.receive(good);
  await take(receiver.engine, { objects: [], branches: sender.engine.branches() });
  expect(await contents(receiver.engine)).toEqual(await contents(sender.engine));
  expect((await receiver.engine.verify()).damage).toEqual([]);
  await renew();
}

function value(bytes: Uint8Array | string): StoredObject {
  return { kind: "value", hash: sha256(bytes), bytes: Buffer.from(bytes as string) };
}

function asObject(commit: Commit): StoredObject {
  const text = encodeCommit(commit);
  return { kind: "commit", hash: sha256(text), bytes: Buffer.from(text) };
}

/** The snapshot that changes on top of the known commit give. */
async function snapshotAfter(changes: Changes): Promise<Hash> {
  const { head } = await receiver.engine.view(known);
  return hashSnapshot((await applyChanges(head, changes)).snapshot);
}

/** A commit on top of the known one that sets /x to "x"; right but for what a test changes. */
async function forged(change: Partial<Commit>): Promise<StoredObject> {
  const parent = await sender.engine.commit(known);
  const changes = { kv: [[key("/x"), sha256("x"), 1]] as Change[] };
  const snapshot = await snapshotAfter(changes);
  const right: Commit = { ...parent, parents: [known], changes, snapshot };
  return asObject({ ...right, ...change });
}

const X = value("x");

describe("what is right is taken", () => {
  test("all at once, and again", async () => {
    expect(await receiver.engine.receive(good)).toMatchObject({ commits: 2 });
    expect(await receiver.engine.receive(good)).toMatchObject({ commits: 0 });
  });

  test("the forged commit of these tests is right before it is changed", async () => {
    const commit = await forged({});
    expect(await receiver.engine.receive([X, commit])).toEqual({ commits: 1, objects: 2 });
  });
});

describe("a flipped byte", () => {
  for (const kind of ["value", "chunk", "list", "changes", "commit"] as const satisfies Kind[]) {
    test(`in a ${kind}, wherever it is`, async () => {
      const objects = good.filter((object) => object.kind === kind);
      expect(objects.length).toBeGreaterThan(0);
      const target = objects[objects.length >> 1] as StoredObject;
      const positions = [0, 1, 5, target.bytes.length >> 1, target.bytes.length - 1].filter(
        (at) => at < target.bytes.length,
      );
      for (const at of positions) {
        const bytes = Buffer.from(target.bytes);
        bytes[at] = (bytes[at] as number) ^ 0x01;
        const objects = good.map((object) => (object === target ? { ...object, bytes } : object));
        await expect(receiver.engine.receive(objects), `byte ${at}`).rejects.toMatchObject({ code: "invalid" });
        expect(await visible()).toEqual(before);
      }
      await refused(good.map((object) => (object === target ? { ...object, hash: sha256("other") } : object)));
    });
  }

  test("in a node that came along", async () => {
    const nodes: StoredObject[] = [];
    for await (const object of sender.engine.treeObjects(sender.engine.branch(MAIN).head)) nodes.push(object);
    const node = nodes.find(({ kind }) => kind === "node") as StoredObject;
    const bytes = Buffer.from(node.bytes);
    bytes[40] = (bytes[40] as number) ^ 1;
    await refused([{ ...node, bytes }, ...good], /another hash/);
  });
});

describe("another spelling", () => {
  test("of a commit", async () => {
    const last = good.at(-1) as StoredObject;
    const spellings = [
      (text: string) => ` ${text}`,
      (text: string) => text.replace("{", "{ "),
      (text: string) => text.replace(/"agent":"todo",(.*)\}$/, '$1,"agent":"todo"}'),
      (text: string) => text.replace('"v":1', '"v":1.0'),
      (text: string) => text.replace("todo", "\\u0074odo"),
      (text: string) => text.replace('"v":1', '"turn":null,"v":1'),
      (text: string) => text.replace('"v":1', '"v":1,"z":1'),
      (text: string) => text.replace('"v":1', '"v":2'),
      (text: string) => text.replace("{", '{"agent":"other",'),
    ];
    for (const spell of spellings) {
      const bytes = Buffer.from(spell(Buffer.from(last.bytes).toString()));
      expect(bytes.equals(last.bytes)).toBe(false);
      const other: StoredObject = { kind: "commit", hash: sha256(bytes), bytes };
      await expect(receiver.engine.receive([...good.slice(0, -1), other])).rejects.toMatchObject({ code: "invalid" });
      expect(await receiver.engine.has([other.hash])).toEqual([false]);
    }
  });

  test("of a node", async () => {
    const node = encodeTreeNode({
      version: 2,
      level: 0,
      keys: [key("/a"), key("/b")],
      hashes: [X.hash, X.hash],
      sizes: [1, 1],
      counts: [],
    });
    // The second key shares one byte with the first: here it is spelled out.
    const at = 2 + 1 + 2 + 2 + 32 + 1;
    expect([node[at], node[at + 1]]).toEqual([1, 1]);
    const bytes = Buffer.concat([node.subarray(0, at), Buffer.from([0, 2]), Buffer.from("/b"), node.subarray(at + 3)]);
    await refused([{ kind: "node", hash: sha256(bytes), bytes }, ...good], /prefix/);
  });

  test("of a change list, a snapshot and a contract", async () => {
    const spaced = Buffer.from('{"kv": []}');
    await refused([{ kind: "changes", hash: sha256(spaced), bytes: spaced }]);
    const snapshot = Buffer.from('{"contract":null,"kv":null,"vectors":null} ');
    await refused([{ kind: "snapshot", hash: sha256(snapshot), bytes: snapshot }]);
    const text = `${canonicalJson(contract() as unknown as Json)} `;
    const changes: Changes = { contract: sha256(text) };
    await refused([value(text), await forged({ changes, snapshot: await snapshotAfter(changes) })], /contract/);
  });
});

describe("a commit that does not fit", () => {
  test("its parent is missing", async () => {
    await refused([X, await forged({ parents: [sha256("nowhere")] })], /parent/);
    const [first, second] = good.filter(({ kind }) => kind === "commit") as [StoredObject, StoredObject];
    await refused(
      good.filter((object) => object !== first),
      /parent/,
    );
    const swapped = good.filter((object) => object !== first && object !== second);
    await refused([...swapped, second, first], /parent/);
  });

  test("a value, a chunk, a list or a change list is missing", async () => {
    for (const kind of ["value", "chunk", "list", "changes"] as const) {
      const gone = good.find((object) => object.kind === kind) as StoredObject;
      await refused(
        good.filter((object) => object !== gone),
        /is not here/,
      );
    }
  });

  test.each([
    ["the size of a value", { changes: { kv: [[key("/x"), X.hash, 2]] } }, /size/],
    ["the snapshot", { snapshot: sha256("another") }, /snapshot/],
    ["the agent", { agent: "other" as AgentName }, /agent "other"/],
    ["a time before its parent's", { time: "2020-01-01T00:00:00.000Z" }, /older/],
    ["no changes in changes", { changes: {} }, /empty/],
    ["a commit that it adopts", { adopts: sha256("nowhere") }, /adopts/],
  ] as const)("%s", async (_what, change, message) => {
    const { changes: _, ...rest } = decodeCommit((await forged({})).bytes);
    const commit =
      "adopts" in change ? asObject({ ...rest, ...change } as Commit) : await forged(change as Partial<Commit>);
    await refused([X, commit], message);
  });

  test("no time, where its parent has one", async () => {
    const { time: _, ...commit } = decodeCommit((await forged({})).bytes);
    await refused([X, asObject(commit)], /older/);
  });

  test("a value that a commit of its own brings (event.values)", async () => {
    await refused([X, await forged({ event: { kind: "call", values: { request: [sha256("gone"), 4] } } })], /value/);
    await refused([X, await forged({ event: { kind: "call", values: { request: [X.hash, 4] } } })], /size/);
  });

  test("both adopts and changes, and an unknown kind", async () => {
    await refused([X, await forged({ adopts: known })]);
    const text = encodeCommit(decodeCommit((await forged({})).bytes)).replace("kv.batch", "kv.brew");
    await refused([X, { kind: "commit", hash: sha256(text), bytes: Buffer.from(text) }], /unknown kind/);
  });

  test("more than 256 changes inline, and a change list of 256 or fewer", async () => {
    const many = (count: number): Changes => ({
      kv: Array.from({ length: count }, (_, i): Change => [key(`/x/${String(i).padStart(3, "0")}`), X.hash, 1]),
    });
    await refused([X, await forged({ changes: many(257), snapshot: await snapshotAfter(many(257)) })], /256/);
    const list = Buffer.from(encodeChanges(many(256)));
    const commit = await forged({ changes: sha256(list), snapshot: await snapshotAfter(many(256)) });
    await refused([X, { kind: "changes", hash: sha256(list), bytes: list }, commit], /too short/);
  });

  test("the contract of another agent", async () => {
    const bytes = encodeContract({ ...contract(), name: "other" as AgentName });
    const changes: Changes = { contract: sha256(bytes) };
    await refused([value(bytes), await forged({ changes, snapshot: await snapshotAfter(changes) })], /another agent/);
  });
});

describe("a chunk list that does not fit", () => {
  const parts = [...cutChunks(LARGE)].map((bytes) => ({ hash: sha256(bytes), size: bytes.length }));
  const chunks = [...cutChunks(LARGE)].map((bytes): StoredObject => ({ kind: "chunk", hash: sha256(bytes), bytes }));
  const top = sha256(LARGE);
  const other = (list: Buffer, hash: Hash = top): StoredObject => ({ kind: "list", hash, bytes: list });
  const without = (): StoredObject[] => good.filter(({ kind }) => kind !== "list");

  test("parts in another order, too few, with wrong sizes", async () => {
    await refused([other(encodeChunkList({ level: 1, parts: parts.toReversed() })), ...without()], /another hash/);
    await refused([other(encodeChunkList({ level: 1, parts: parts.slice(1) })), ...without()], /another hash/);
    // Their sum is right.
    const wrong = parts.map(({ hash, size }, i) => ({ hash, size: size + (i === 0 ? 1 : i === 1 ? -1 : 0) }));
    await refused([other(encodeChunkList({ level: 1, parts: wrong })), ...without()], /size/);
  });

  test("levels that are wrong, and sums that are", async () => {
    const inner = encodeChunkList({ level: 1, parts });
    const under = (size: number) => encodeChunkList({ level: 2, parts: [{ hash: sha256(inner), size }] });
    const twice = encodeChunkList({ level: 2, parts: [{ hash: sha256(under(LARGE.length)), size: LARGE.length }] });
    const lists = [other(inner, sha256(inner)), other(under(LARGE.length), sha256(under(LARGE.length)))];
    await refused([...lists, other(twice), ...without()], /levels/);
    // The commit agrees with the list, and both are wrong.
    const wrong = LARGE.length + 1;
    const changes: Changes = { kv: [[key("/x"), top, wrong]] };
    const commit = await forged({ changes, snapshot: await snapshotAfter(changes) });
    const outer = under(wrong);
    await refused([...chunks, other(inner, sha256(inner)), other(outer), commit], /size/);
  });

  test("a list under its own hash is no value", async () => {
    const list = encodeChunkList({ level: 1, parts });
    const changes: Changes = { kv: [[key("/x"), sha256(list), LARGE.length]] };
    const commit = await forged({ changes, snapshot: await snapshotAfter(changes) });
    await refused([...chunks, other(list, sha256(list)), commit], /is not here/);
  });

  test("two lists for one value, of which one is bad", async () => {
    const bad = other(encodeChunkList({ level: 1, parts: parts.slice(1) }));
    for (const objects of [
      [bad, ...good],
      [...good.slice(0, -1), bad, good.at(-1) as StoredObject],
    ]) {
      await expect(receiver.engine.receive(objects)).rejects.toMatchObject({ code: "invalid" });
      expect(await visible()).toEqual(before);
    }
    await refused([bad, ...good]);
  });

  test("cut off, and empty", async () => {
    const list = encodeChunkList({ level: 1, parts });
    await refused([other(list.subarray(0, list.length - 1)), ...without()], /chunk list/);
    await refused([other(Buffer.alloc(0)), ...without()], /chunk list/);
  });
});

test("an object of a newer release is named as such, not as damaged", async () => {
  const node: TreeNode = { version: 2, level: 0, keys: [key("/a")], hashes: [known], sizes: [1], counts: [1] };
  const bytes = Buffer.from(encodeTreeNode(node));
  bytes[0] = 3;
  const hash = sha256(bytes);
  await expect(receiver.engine.receive([{ kind: "node", hash, bytes }])).rejects.toMatchObject({
    code: "invalid",
    message: `the node ${hash}: a tree node of format 3; this release knows 2`,
    remedy: expect.stringContaining("update"),
  });
});
