import { type BranchName, type Hash, MAIN, parseKey, sha256 } from "@vlinder/protocol";
import { afterEach, expect, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import { noise } from "./property.ts";
import { codeOf, DAY, newHome, openHome, put } from "./retention-harness.ts";

const opened: StateEngine[] = [];
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
});

async function open(retention = {}) {
  const home = newHome();
  const engine = await openHome(home, retention);
  opened.push(engine);
  return { engine, ...home };
}

const request = Buffer.from("what was asked");
/** Longer than one object: it is cut into chunks. */
const response = Buffer.from(noise(300_000, 7));

function record(engine: StateEngine, branch: BranchName = MAIN): Promise<{ state: Hash }> {
  return engine.record({ kind: "call", branch, info: { model: "m" }, values: { request, response }, session: "s" });
}

test("what happened is a commit that changes nothing, and has its values", async () => {
  const { engine } = await open();
  const before = await put(engine, "/a", "1");
  const { state } = await record(engine);
  const commit = await engine.commit(state);
  expect(commit).toMatchObject({ parents: [before], session: "s", snapshot: (await engine.commit(before)).snapshot });
  expect(commit.event).toEqual({
    kind: "call",
    info: { model: "m" },
    values: { request: [sha256(request), request.length], response: [sha256(response), response.length] },
  });
  expect(commit).not.toHaveProperty("changes");
  expect(Buffer.from(await engine.requiredValue(sha256(response), response.length))).toEqual(response);
  expect(await engine.resolve(MAIN)).toBe(state);
  expect((await engine.verify()).damage).toEqual([]);
  expect(await codeOf(record(engine, "none" as BranchName))).toBe("not_found");
});

test("its values stay as long as its state does, and go with it", async () => {
  const { engine, storage, clock } = await open({ states: "7d" });
  const { state } = await record(engine);
  await put(engine, "/a", "1");
  await engine.retention.collect(true);
  expect(Buffer.from(await engine.requiredValue(sha256(response), response.length))).toEqual(response);
  clock.tick(30 * DAY);
  await put(engine, "/a", "2");
  await engine.retention.collect(true);
  expect(await codeOf(engine.view(state))).toBe("pruned");
  expect((await storage.read("value", [sha256(request)]))[0]).toBeNull();
  expect((await storage.read("list", [sha256(response)]))[0]).toBeNull();
  expect((await engine.verify()).damage).toEqual([]);
});

test("a value that is forgotten is gone from it, too", async () => {
  const { engine, storage } = await open();
  await put(engine, "/asked", request);
  await record(engine);
  await engine.retention.forget({ key: parseKey("/asked"), isPrefix: false }, true);
  expect((await storage.read("value", [sha256(request)]))[0]).toBeNull();
  expect(await codeOf(engine.requiredValue(sha256(request), request.length))).toBe("erased");
  expect(Buffer.from(await engine.requiredValue(sha256(response), response.length))).toEqual(response);
  expect((await engine.verify()).damage).toEqual([]);
});

test("apart from each other recorded, and merged, both are there", async () => {
  const { engine } = await open();
  await put(engine, "/a", "1");
  await engine.fork("side" as BranchName, await engine.resolve(MAIN));
  const side = await record(engine, "side" as BranchName);
  const main = await record(engine);
  const { kind, conflicts } = await engine.merge(MAIN, side.state);
  expect([kind, conflicts]).toEqual(["merge", []]);
  const kinds: string[] = [];
  for await (const { commit } of engine.log(await engine.resolve(MAIN))) kinds.push(commit.event.kind);
  expect(kinds.filter((one) => one === "call")).toHaveLength(2);
  expect(main.state).not.toBe(side.state);
  expect((await engine.verify()).damage).toEqual([]);
});
