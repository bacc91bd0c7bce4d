import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MAIN, VlinderError } from "@vlinder/protocol";
import { expect, onTestFinished, test, vi } from "vitest";
import { KeptFile } from "../../../src/storage/backends/sqlite/kept-file.ts";
import { openSqliteObjects } from "../../../src/storage/backends/sqlite/sqlite-objects.ts";
import { contents, op, openEngine } from "../harness.ts";
import { begin, events, get, set } from "./turn-harness.ts";

// A turn's beginning is kept in a file until it is stored with what follows.

async function newPath(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "vlinder-begun-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return join(folder, "objects.db");
}

/** An engine on a file; the one before it on the same file is as a process that was killed: it does nothing more. */
async function openOn(path: string) {
  const storage = await openSqliteObjects({ path, durability: "process" });
  const it = await openEngine({ storage });
  onTestFinished(() => it.engine.close());
  return { ...it, left: () => KeptFile.left(`${path}-kept`).length };
}

const REQUEST = { branch: MAIN, input: Buffer.from("what was asked") };

test("it is known when the process dies right behind the answer", async () => {
  const path = await newPath();
  const { engine, left } = await openOn(path);
  const begun = await engine.turns.begin(REQUEST, "an id");
  expect(left()).toBe(1);
  const { engine: again, left: leftNow } = await openOn(path);
  const kept = `turn/${begun.turn}`;
  await expect.poll(() => again.liveBranches().map(({ name }) => name)).toContain(kept);
  expect((await events(again, kept)).slice(-2)).toEqual(["invoke", "fail"]);
  expect(await again.turns.begin(REQUEST, "an id")).toEqual(begun);
  await expect(again.turns.begin({ branch: MAIN }, "an id")).rejects.toMatchObject({ code: "conflict" });
  expect(leftNow()).toBe(0);
  const next = await begin(again);
  await set(next, "/a", "works");
  expect(await again.turns.complete(next.turn, null)).toMatchObject({ kind: "completed" });
  expect((await again.verify()).damage).toEqual([]);
});

test("a short turn is one transaction, with the replies to its beginning and its end", async () => {
  const path = await newPath();
  const { engine, storage, left } = await openOn(path);
  const apply = vi.spyOn(storage, "apply");
  const begun = await engine.turns.begin(REQUEST, "begun");
  const turn = engine.turns.required(begun.turn);
  await set(turn, "/a", "1");
  expect(await get(turn, "/a")).toBe("1");
  await engine.turns.complete(begun.turn, null, "completed");
  expect(apply).toHaveBeenCalledTimes(1);
  expect(await storage.reply("begun")).toMatchObject({ reply: JSON.stringify(begun) });
  expect(await storage.reply("completed")).not.toBeNull();
  expect(await storage.notes("turn/")).toEqual([]);
  expect(left()).toBe(0);
  // Killed now, it has ended.
  const { engine: again } = await openOn(path);
  await again.turns.restored();
  expect(again.liveBranches().map(({ name }) => name)).toEqual(["main"]);
  expect(await contents(again)).toEqual({ "/a": "1" });
});

test("what the end can't store is known all the same, and stored by the next try, with the first reply", async () => {
  const path = await newPath();
  const { engine, storage, left } = await openOn(path);
  const begun = await engine.turns.begin(REQUEST, "begun");
  await set(engine.turns.required(begun.turn), "/a", "1");
  const apply = vi.spyOn(storage, "apply").mockRejectedValueOnce(new VlinderError("unavailable", "the disk is full"));
  await expect(engine.turns.complete(begun.turn, null)).rejects.toMatchObject({ code: "unavailable" });
  expect(left()).toBe(1);
  expect(await engine.turns.complete(begun.turn, null)).toMatchObject({ kind: "completed" });
  expect(apply).toHaveBeenCalled();
  expect(await storage.reply("begun")).toMatchObject({ reply: JSON.stringify(begun) });
  expect(left()).toBe(0);
});

test("one that goes on is stored with all that it did, after half a second or when somebody needs it", async () => {
  const path = await newPath();
  const { engine, storage, left } = await openOn(path);
  const { turn } = await engine.turns.begin(REQUEST);
  await set(engine.turns.required(turn), "/a", "1");
  expect(await storage.notes("turn/")).toEqual([]);
  await expect.poll(async () => (await storage.notes("turn/")).length, { timeout: 5000 }).toBe(1);
  await expect.poll(left).toBe(0);
  const other = await engine.turns.begin(REQUEST, "other");
  const { storing } = engine.turns.required(other.turn);
  vi.spyOn(storage, "apply").mockRejectedValueOnce(new VlinderError("unavailable", "the disk is full"));
  await expect(storing.flush()).rejects.toMatchObject({ code: "unavailable" });
  expect(left()).toBe(1);
  await storing.flush();
  expect(await storage.reply("other")).not.toBeNull();
  expect(left()).toBe(0);
  await begin(engine);
  expect(left(), "begun durably").toBe(0);
  const { engine: again } = await openOn(path);
  await expect.poll(() => again.liveBranches().length).toBe(4);
  expect(await contents(again, `turn/${turn}`)).toEqual({ "/a": "1" });
});

test("an input that is too large to be kept is stored at once", async () => {
  const path = await newPath();
  const { engine, storage, left } = await openOn(path);
  const apply = vi.spyOn(storage, "apply");
  await engine.turns.begin(REQUEST);
  const large = await engine.turns.begin({ branch: MAIN, input: Buffer.alloc(100_000, "large ") });
  expect(left()).toBe(1);
  await expect.poll(() => apply.mock.calls.length).toBeGreaterThan(0);
  expect(apply.mock.calls[0]?.[0].notes?.map(({ name }) => name)).toEqual([`turn/${large.turn}`]);
});

test("one that could not be made durable has not begun: nothing of it is kept, and its id is free", async () => {
  const path = await newPath();
  const { engine, storage, left } = await openOn(path);
  vi.spyOn(storage, "apply").mockRejectedValueOnce(new VlinderError("unavailable", "the disk is full"));
  await expect(engine.turns.begin(REQUEST, "an id", true)).rejects.toMatchObject({ code: "unavailable" });
  expect(left()).toBe(0);
  const put = { space: "kv", kind: "kv.put", branch: MAIN, ops: [op("/a", "1")] } as const;
  expect(await engine.write(put, "an id")).toMatchObject({ applied: [true] });
  vi.spyOn(storage, "apply").mockRejectedValueOnce(new VlinderError("unavailable", "the disk is full"));
  await expect(engine.turns.begin(REQUEST, "other id", true)).rejects.toMatchObject({ code: "unavailable" });
  const { engine: again, storage: reopened } = await openOn(path);
  expect(await reopened.reply("other id")).toBeNull();
  expect(await again.turns.begin({ branch: MAIN }, "other id", true)).toMatchObject({ branch: MAIN });
  expect(again.liveBranches().map(({ name }) => name)).toEqual(["main"]);
});

test("all of it is stored when the storage says so, though it did not say so of its beginning", async () => {
  const path = await newPath();
  const { engine, storage, left } = await openOn(path);
  const { turn } = await engine.turns.begin(REQUEST, "an id");
  const open = engine.turns.required(turn);
  const apply = storage.apply.bind(storage);
  vi.spyOn(storage, "apply").mockImplementationOnce(async (transaction) => {
    await apply(transaction);
    throw new VlinderError("unavailable", "the thread has ended", { retryable: true });
  });
  await expect(open.storing.flush()).rejects.toMatchObject({ code: "unavailable" });
  const last = await set(open, "/a", "1");
  await open.storing.flush();
  expect(await storage.read("commit", [last])).not.toEqual([null]);
  expect(left()).toBe(0);
});

test("its id stands for it before it is stored, and after", async () => {
  const path = await newPath();
  const { engine } = await openOn(path);
  const begun = await engine.turns.begin(REQUEST, "an id");
  const write = () => engine.write({ space: "kv", kind: "kv.put", branch: MAIN, ops: [op("/a", "1")] }, "an id");
  await expect(write()).rejects.toMatchObject({ code: "conflict" });
  await engine.turns.required(begun.turn).storing.flush();
  await expect(write()).rejects.toMatchObject({ code: "conflict" });
  expect(await engine.turns.begin(REQUEST, "an id")).toEqual(begun);
  await engine.turns.complete(begun.turn, null);
  await expect(write()).rejects.toMatchObject({ code: "conflict" });
});

test("a database in which a left beginning finds no room is opened, and has it as soon as there is some", async () => {
  const path = await newPath();
  const { engine } = await openOn(path);
  const begun = await engine.turns.begin({ branch: MAIN, input: Buffer.alloc(50_000, "input ") });
  const warnings: string[] = [];
  const warn = ({ message }: VlinderError): number => warnings.push(message);
  const full = await openSqliteObjects({ path, durability: "process", maxPages: 1, warn });
  expect((await full.branches()).map(({ name }) => name)).toEqual(["main"]);
  expect(warnings).toEqual([expect.stringContaining("can't be applied")]);
  await full.close();
  const { engine: again } = await openOn(path);
  await expect.poll(() => again.liveBranches().map(({ name }) => name)).toContain(`turn/${begun.turn}`);
});

test("who asks for sessions sees it at once", async () => {
  const path = await newPath();
  const { engine } = await openOn(path);
  expect(await engine.turns.index.sessions()).toEqual([]);
  const { session } = await engine.turns.begin(REQUEST);
  await engine.turns.storeForIndex();
  expect(await engine.turns.index.session(session)).toHaveLength(1);
});
