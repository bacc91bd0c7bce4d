import { type Commit, encodeCommit, type Hash, hashSnapshot, MAIN, sha256, type TreeVersion } from "@vlinder/protocol";
import { expect, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import { applyChanges } from "../../src/state/head.ts";
import { contents, openEngine, type Opened, put } from "./harness.ts";
import { machine, meet, objectsFor, send, take } from "./machines.ts";

// Trees that were begun by an older release keep their version; what is begun now has the newest.

/** Enough for a tree of three levels in each version. */
const FILES = Object.fromEntries(Array.from({ length: 400 }, (_, n) => [`/file/${n}`, `${n}`]));

/** A machine whose history was begun with version 1. */
async function oldMachine(n: number, files: Record<string, string> = FILES): Promise<Opened> {
  const [now, old] = [await machine(n), await machine(n)];
  const base = now.engine.branch(MAIN).head;
  const head = (await put(now.engine, files)) as Hash;
  const commit = await now.engine.commit(head);
  const changes = await changesOf(now, commit);
  const { snapshot } = await applyChanges((await old.engine.view(base)).head, changes, 1);
  const text = encodeCommit({ ...commit, snapshot: hashSnapshot(snapshot) });
  const objects = (await objectsFor(now.engine, [head], [base])).filter(({ kind }) => kind !== "commit");
  objects.push({ kind: "commit", hash: sha256(text), bytes: Buffer.from(text) });
  await take(old.engine, { objects, branches: [{ ...old.engine.branch(MAIN), head: sha256(text) }] });
  expect(await versionOf(old.engine)).toBe(1);
  return old;
}

async function changesOf({ engine }: Opened, commit: Commit) {
  const { snapshot } = await engine.view(commit.parents[0] as Hash);
  expect(snapshot.kv).toBeNull();
  const kv = [];
  for await (const { key, hash, size } of (await engine.view(engine.branch(MAIN).head)).entries("kv")) {
    kv.push([key, hash, size] as const);
  }
  return { kv };
}

/** Of all nodes of the tree of keys; null when there is none. */
async function versionOf(engine: StateEngine): Promise<TreeVersion | null> {
  const { snapshot, head } = await engine.view(engine.branch(MAIN).head);
  const versions = new Set<TreeVersion>();
  const visit = async (hash: Hash): Promise<void> => {
    const node = await head.nodes.node(hash);
    versions.add(node.version);
    if (node.level > 0) for (const child of node.unpacked().hashes) await visit(child);
  };
  if (snapshot.kv === null) return null;
  await visit(snapshot.kv);
  expect(versions.size).toBe(1);
  return [...versions][0] as TreeVersion;
}

async function isSound({ engine, storage }: Opened): Promise<void> {
  expect((await engine.verify()).damage).toEqual([]);
  // Computed by one that knows nothing yet.
  const { engine: again } = await openEngine({ storage, contract: null });
  for await (const { hash } of again.log(again.branch(MAIN).head)) {
    expect((await again.view(hash)).snapshot).toEqual((await engine.view(hash)).snapshot);
  }
  expect(await contents(again)).toEqual(await contents(engine));
}

test("a tree keeps its version whatever is written, and one that is begun has the newest", async () => {
  const old = await oldMachine(1);
  const { engine } = old;
  await put(engine, { "/file/7": "changed" });
  await put(engine, { "/another": "one" });
  await put(engine, Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`/more/${n}`, `${n}`])));
  expect(await versionOf(engine)).toBe(1);
  expect(await contents(engine)).toMatchObject({ "/file/7": "changed", "/file/8": "8", "/another": "one" });
  await isSound(old);
  await put(engine, Object.fromEntries(Object.keys(await contents(engine)).map((name) => [name, null])));
  expect(await versionOf(engine)).toBeNull();
  await put(engine, FILES);
  expect(await versionOf(engine)).toBe(2);
  await isSound(old);
});

test("it does so on a machine that gets all of it from another, which computes the trees itself", async () => {
  const [old, clone] = [await oldMachine(1), await openEngine({ device: 2, contract: null })];
  for (let n = 0; n < 100; n++) await put(old.engine, { "/counter": `${n}` });
  await send(old.engine, clone.engine);
  expect(clone.engine.branch(MAIN).head).toBe(old.engine.branch(MAIN).head);
  expect(await versionOf(clone.engine)).toBe(1);
  await put(clone.engine, { "/counter": "here" });
  await isSound(clone);
});

test("machines of which one began with each make one merge, which has what both have", async () => {
  for (const swapped of [false, true]) {
    const [a, b] = [await oldMachine(swapped ? 2 : 1), await machine(swapped ? 1 : 2)];
    await put(b.engine, { "/theirs": "b", "/file/3": "3" });
    await meet(a.engine, b.engine);
    expect(a.engine.branch(MAIN).head).toBe(b.engine.branch(MAIN).head);
    expect(await contents(a.engine)).toEqual({ ...FILES, "/theirs": "b" });
    for (const one of [a, b]) await isSound(one);
  }
});

test("a commit that names another tree than its changes give, in either version, is refused", async () => {
  const old = await oldMachine(1, { "/a": "1" });
  const { engine } = old;
  const head = engine.branch(MAIN).head;
  const base = (await engine.commit(head)).parents[0] as Hash;
  const clone = await openEngine({ device: 2, contract: null });
  const objects = await objectsFor(engine, [head]);
  const at = objects.findIndex(({ hash }) => hash === head);
  const { snapshot } = await engine.commit(base);
  const text = encodeCommit({ ...(await engine.commit(head)), snapshot });
  objects[at] = { kind: "commit", hash: sha256(text), bytes: Buffer.from(text) };
  await expect(clone.engine.receive(objects)).rejects.toMatchObject({
    code: "invalid",
    message: expect.stringContaining("its changes do not give the snapshot"),
  });
});
