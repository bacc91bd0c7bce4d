import { type BranchName, MAIN } from "@vlinder/protocol";
import { afterEach, describe, expect, test } from "vitest";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { contents, contract, key, op, openEngine, put } from "./harness.ts";

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
});

async function open(options: Parameters<typeof openEngine>[0] = {}) {
  const it = await openEngine(options);
  opened.push(it.engine);
  return it;
}

describe("writes and reads", () => {
  test("a put is one commit, and every past state reads back", async () => {
    const { engine } = await open();
    const first = await put(engine, { "/a": "1" });
    const second = await put(engine, { "/a": "2", "/b": "x" });
    await put(engine, { "/a": null });
    expect(await contents(engine)).toEqual({ "/b": "x" });
    expect(await contents(engine, second)).toEqual({ "/a": "2", "/b": "x" });
    expect(await contents(engine, first)).toEqual({ "/a": "1" });
    expect(await contents(engine, first.slice(0, 12))).toEqual({ "/a": "1" });
  });

  test("an expect that does not hold changes nothing", async () => {
    const { engine } = await open();
    await put(engine, { "/a": "1" });
    const before = await engine.resolve("main");
    const write = engine.write({
      space: "kv",
      kind: "kv.put",
      branch: MAIN,
      ops: [{ ...op("/a", "2"), expect: null }],
    });
    await expect(write).rejects.toMatchObject({ code: "conflict" });
    expect(await engine.resolve("main")).toBe(before);
  });

  test("a delete of what is not there makes no commit", async () => {
    const { engine } = await open();
    const before = await put(engine, { "/a": "1" });
    const reply = await engine.write({ space: "kv", kind: "kv.delete", branch: MAIN, ops: [op("/none", null)] });
    expect(reply).toEqual({ state: before, applied: [false] });
  });

  test("a batch over 256 changes has a change list, and a large value has chunks", async () => {
    const { engine, storage } = await open();
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`/k${i}`, `${i}`]));
    const state = await put(engine, many);
    expect(typeof (await engine.commit(state as never)).changes).toBe("string");
    const large = Buffer.alloc(300_000, "abcdefghij").map((x, i) => x ^ (i % 251));
    await put(engine, { "/large": large });
    const entry = await (await engine.stateOf()).get("kv", key("/large"));
    expect(Buffer.compare(Buffer.from((await engine.value(entry!.hash, entry!.size))!), large)).toBe(0);
    expect((await storage.usage()).counts.chunk).toBeGreaterThan(4);
  });

  test("what is written survives a close and another open, between stored trees too", async () => {
    const storage = new MemoryObjects("memory://again");
    const first = await openEngine({ storage });
    for (let i = 0; i < 150; i++) await put(first.engine, { [`/k${i % 40}`]: `${i}` });
    const all = await contents(first.engine);
    const head = await first.engine.resolve("main");
    const second = await open({ storage });
    expect(await second.engine.resolve("main")).toBe(head);
    expect(await contents(second.engine)).toEqual(all);
    expect((await second.engine.verify()).damage).toEqual([]);
  });

  test("the same id gets the first reply, another request under it is a conflict", async () => {
    const { engine } = await open();
    const request = { space: "kv", kind: "kv.put", branch: MAIN, ops: [op("/a", "1")] } as const;
    const [one, two] = await Promise.all([engine.write(request, "id-1"), engine.write(request, "id-1")]);
    const three = await engine.write(request, "id-1");
    expect([two, three]).toEqual([one, one]);
    await expect(engine.write({ ...request, ops: [op("/a", "2")] }, "id-1")).rejects.toMatchObject({
      code: "conflict",
    });
  });
});

describe("branches", () => {
  test("a retry gets the first reply, also when the branch that it names has moved on", async () => {
    const { engine } = await open();
    const first = await put(engine, { "/a": "1" });
    const fork = async () => engine.fork("f" as BranchName, await engine.resolve("main"), "fork-1", "main");
    const reply = await fork();
    expect(reply.state).toBe(first);
    await put(engine, { "/a": "2" });
    expect(await fork()).toEqual(reply);
    const other = engine.fork("g" as BranchName, await engine.resolve("main"), "fork-1", "main");
    await expect(other).rejects.toMatchObject({ code: "conflict" });
  });

  test("a fork is apart from main, and a rewind goes forward to an earlier state", async () => {
    const { engine } = await open();
    const eggs = await put(engine, { "/todos": "milk eggs" });
    const carrots = await put(engine, { "/todos": "milk eggs carrots" });
    await engine.fork("fix" as BranchName, eggs as never);
    await put(engine, { "/todos": "milk eggs bread" }, "fix" as BranchName);
    expect(await contents(engine, "main")).toEqual({ "/todos": "milk eggs carrots" });
    expect(await contents(engine, "fix")).toEqual({ "/todos": "milk eggs bread" });
    await engine.rewind(MAIN, eggs as never);
    expect(await contents(engine, "main")).toEqual({ "/todos": "milk eggs" });
    expect(await contents(engine, carrots)).toEqual({ "/todos": "milk eggs carrots" });
    await engine.rewind(MAIN, carrots as never);
    expect(await contents(engine, "main")).toEqual({ "/todos": "milk eggs carrots" });
    expect((await engine.verify()).damage).toEqual([]);
  });

  test("main can't be deleted; another branch leaves a tombstone and its name is free again", async () => {
    const { engine } = await open();
    const at = await put(engine, { "/a": "1" });
    expect(() => engine.branch("none" as BranchName)).toThrow(/no branch/);
    await expect(engine.deleteBranch(MAIN)).rejects.toMatchObject({ code: "invalid" });
    const { branch } = await engine.fork("x" as BranchName, at as never);
    await engine.deleteBranch("x" as BranchName);
    expect(engine.branches().find(({ id }) => id === branch)).toMatchObject({ head: null, deleted: [at] });
    await engine.fork("x" as BranchName, at as never);
    expect(await contents(engine, "x")).toEqual({ "/a": "1" });
  });
});

describe("merge", () => {
  test("different keys merge, a changed one beats a delete, the same key keeps both values", async () => {
    const { engine, clock } = await open();
    const base = await put(engine, { "/a": "0", "/b": "0", "/c": "0" });
    await engine.fork("f" as BranchName, base as never);
    clock.tick();
    await put(engine, { "/a": "main", "/b": null, "/d": "new" });
    clock.tick();
    await put(engine, { "/a": "fork", "/b": "kept", "/c": null }, "f" as BranchName);
    const reply = await engine.merge(MAIN, await engine.resolve("f"));
    expect(reply.kind).toBe("merge");
    expect(reply.conflicts).toHaveLength(1);
    const kept = reply.conflicts[0]!.kept as string;
    expect(await contents(engine)).toEqual({ "/a": "fork", [kept]: "main", "/b": "kept", "/d": "new" });
    expect((await engine.verify()).damage).toEqual([]);
  });

  test("newest keeps one", async () => {
    const { engine, clock } = await open({ contract: contract({ "/n/": "newest" }) });
    const base = await put(engine, { "/n/a": "0" });
    await engine.fork("f" as BranchName, base as never);
    clock.tick();
    await put(engine, { "/n/a": "older" }, "f" as BranchName);
    clock.tick();
    await put(engine, { "/n/a": "newer" });
    await engine.merge(MAIN, await engine.resolve("f"));
    expect(await contents(engine)).toEqual({ "/n/a": "newer" });
  });
});
