import { type Hash, MAIN, sha256 } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { openEngine, put } from "./harness.ts";

test("verify of one state looks below nodes that were read to compute it, too", async () => {
  const { engine, storage } = await openEngine();
  const names = Array.from({ length: 100 }, (_, i) => `/k/${1000 + i}`);
  const all = (await put(engine, Object.fromEntries(names.map((name) => [name, `value ${name}`])))) as Hash;
  // A rewind stores trees.
  const { state: stored } = await engine.rewind(MAIN, all);
  const { nodes, snapshot } = (await engine.view(stored)).head;
  let leaf = await nodes.node(snapshot.kv as Hash);
  expect(leaf.level).toBeGreaterThan(0);
  while (leaf.level > 0) leaf = await nodes.node(leaf.unpacked().hashes[0] as Hash);
  // All but the first leaf goes: the root is that one then.
  const rest = names.slice(leaf.count);
  const state = (await put(engine, Object.fromEntries(rest.map((name) => [name, null])))) as Hash;
  const hash = sha256(`value ${names[0]}`);
  await storage.remove("value", [hash]);
  const fresh = (await openEngine({ storage, contract: null })).engine;
  expect((await fresh.verify(state)).damage).toMatchObject([{ kind: "value", hash, problem: "missing" }]);
});
