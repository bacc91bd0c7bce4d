import { type Hash, MAIN, sha256 } from "@vlinder/protocol";
import { expect, onTestFinished, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import type { Kind, ObjectName, StoredObject } from "../../src/storage/object-storage.ts";
import { deepValue, key } from "./harness.ts";
import { noise } from "./property.ts";
import { objectsFor } from "./machines.ts";
import { newHome, openHome, StepObjects, stateAt } from "./retention-harness.ts";

async function opened(storage = new StepObjects()) {
  const home = newHome(storage);
  const engine = await openHome(home, {});
  onTestFinished(() => engine.close());
  return { ...home, engine };
}

async function putDeep(engine: StateEngine, name: string, bytes: Uint8Array): Promise<Hash> {
  await engine.receive(deepValue(bytes, 2));
  const value = { hash: sha256(bytes), size: bytes.length };
  return (await engine.write({ space: "kv", kind: "kv.put", branch: MAIN, ops: [{ key: key(name), value }] })).state;
}

test("verify reads through as many levels as there are", async () => {
  const { engine, storage } = await opened();
  const bytes = noise(1, 100_000);
  const state = await putDeep(engine, "/deep", bytes);
  expect(await stateAt(engine, state)).toEqual({ "/deep": sha256(bytes) });
  expect((await engine.verify()).damage).toEqual([]);
  const below = deepValue(bytes, 2).find(({ kind }) => kind === "list") as StoredObject;
  await storage.remove("list", [below.hash]);
  expect((await engine.verify()).damage).toMatchObject([{ kind: "list", hash: below.hash, problem: "missing" }]);
});

test("forget erases through as many levels as there are, but for what another value has", async () => {
  const { engine, storage } = await opened();
  const bytes = noise(1, 100_000);
  // Half of it is in the other one too: lists, and all below them.
  const other = Buffer.concat([bytes.subarray(0, 50_000), noise(2, 50_000)]);
  await putDeep(engine, "/deep", bytes);
  await putDeep(engine, "/other", other);
  await engine.retention.forget({ key: key("/deep"), isPrefix: false }, true);
  const left = Object.groupBy(deepValue(other, 2), ({ kind }) => kind);
  expect((await storage.usage()).counts).toMatchObject({ chunk: left.chunk?.length, list: left.list?.length });
  expect(await stateAt(engine, engine.branch(MAIN).head)).toEqual({ "/deep": "erased", "/other": sha256(other) });
  expect((await engine.verify()).damage).toEqual([]);
  await engine.retention.forget({ key: key("/other"), isPrefix: false }, true);
  expect((await storage.usage()).counts).toMatchObject({ chunk: 0, list: 0 });
});

test("a commit that comes beside a collection keeps its value through as many levels as there are", async () => {
  let beforeLists = async (): Promise<void> => {};
  class Hooked extends StepObjects {
    override async *names(kind: Kind): AsyncGenerator<readonly ObjectName[]> {
      if (kind === "list") await beforeLists();
      yield* super.names(kind);
    }
  }
  const bytes = noise(1, 100_000);
  const { engine: sender } = await opened();
  const { engine } = await opened(new Hooked());
  const head = await putDeep(sender, "/deep", bytes);
  // As far as a pull had come that was broken off: nothing reaches it yet.
  await engine.receive(deepValue(bytes, 2));
  const commits = await objectsFor(sender, [head], [engine.branch(MAIN).head]);
  beforeLists = async () => void (await engine.receive(commits.filter(({ kind }) => kind === "commit")));
  await engine.retention.collect(true);
  await engine.integrate(sender.branches());
  expect(await stateAt(engine, head)).toEqual({ "/deep": sha256(bytes) });
});
