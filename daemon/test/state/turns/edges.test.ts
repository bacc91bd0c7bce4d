import { setTimeout as sleep } from "node:timers/promises";
import { type BranchName, encodeVectorRecord, type Hash, MAIN, sha256 } from "@vlinder/protocol";
import { describe, expect, onTestFinished, test } from "vitest";
import { StateEngine } from "../../../src/state/engine.ts";
import type { OpenTurn } from "../../../src/state/turns/open-turn.ts";
import { MemoryObjects } from "../../../src/storage/backends/memory.ts";
import type { Kind, StoredObject } from "../../../src/storage/object-storage.ts";
import { AGENT, contents, contract, device, key, put } from "../harness.ts";
import { noise } from "../property.ts";
import { DAY, newHome, openHome } from "../retention-harness.ts";
import { begin, events, get, open, set } from "./turn-harness.ts";

const SIDE = "side" as BranchName;

async function hashOf(engine: StateEngine, at: string): Promise<Hash | null> {
  return (await (await engine.stateOf()).get("kv", key(at)))?.hash ?? null;
}

async function home(retention?: Parameters<typeof openHome>[1]) {
  const one = newHome(new MemoryObjects("memory://home"));
  const engine = await openHome(one, retention);
  onTestFinished(() => engine.close());
  return { engine, clock: one.clock };
}

describe("a branch that changes under an open turn", () => {
  test("is deleted: a conflict, with what the turn did kept", async () => {
    const { engine } = await open();
    await engine.fork(SIDE, engine.branch(MAIN).head);
    const turn = await begin(engine, SIDE);
    await set(turn, "/a", "1");
    await engine.deleteBranch(SIDE);
    // Another one of the name is not the one that it began from.
    await engine.fork(SIDE, engine.branch(MAIN).head);
    const ended = await engine.turns.complete(turn.turn, null);
    expect(ended).toMatchObject({ kind: "conflict", reason: 'the branch "side" was deleted' });
    expect(await contents(engine, `turn/${turn.turn}`)).toEqual({ "/a": "1" });
    expect(await contents(engine, SIDE)).toEqual({});
  });

  test("is rewound: the turn joins what is there now", async () => {
    const { engine } = await open();
    const first = await put(engine, { "/a": "1" });
    await put(engine, { "/b": "2" });
    const turn = await begin(engine);
    await set(turn, "/c", "3");
    await engine.rewind(MAIN, first as Hash);
    expect(await engine.turns.complete(turn.turn, null)).toMatchObject({ kind: "completed", merged: true });
    expect(await contents(engine)).toEqual({ "/a": "1", "/c": "3" });
    expect((await engine.verify()).damage).toEqual([]);
  });

  test("is not main: everything stays on it", async () => {
    const { engine } = await open();
    await engine.fork(SIDE, engine.branch(MAIN).head);
    const turn = await begin(engine, SIDE);
    await set(turn, "/a", "1");
    const request = { space: "kv", kind: "kv.put", branch: MAIN, ops: [] } as const;
    expect(() => turn.write(request)).toThrow("not on");
    await engine.turns.complete(turn.turn, null);
    expect(await contents(engine, SIDE)).toEqual({ "/a": "1" });
    expect(await contents(engine)).toEqual({});
  });
});

test("reads of the past are none of the turn's: they see no write of it, and are not noted", async () => {
  const { engine } = await open();
  const past = await put(engine, { "/a": "1" });
  await put(engine, { "/a": "2" });
  const turn = await begin(engine);
  await set(turn, "/a", "3");
  const { value } = await turn.find(key("/a"), undefined, past);
  expect(Buffer.from(value?.bytes as Uint8Array).toString()).toBe("1");
  expect(await (await turn.stateOf(undefined, past)).get("kv", key("/b"))).toBeNull();
  const { commit } = await engine.turns.complete(turn.turn, null);
  expect((await engine.commit(commit)).event.values).toBeUndefined();
});

describe("large values that were uploaded", () => {
  const large = noise(7, 700_000);
  async function upload(engine: StateEngine, turn: OpenTurn, at: string): Promise<void> {
    await engine.uploads.put("u", { offset: 0, bytes: large, last: true });
    const ops = [{ key: key(at), value: { upload: "u" } }];
    await turn.write({ space: "kv", kind: "kv.put", branch: MAIN, ops });
  }

  test.each(["dropped", "expired"])("stay though the upload is %s and collections run", async (how) => {
    const { engine, clock } = await home();
    const turn = await begin(engine);
    await upload(engine, turn, "/large");
    if (how === "dropped") engine.uploads.drop("u");
    clock.tick(3 * DAY);
    await engine.retention.collect(true);
    await turn.storing.flush();
    clock.tick(9 * DAY);
    await engine.retention.collect(true);
    expect((await turn.find(key("/large"))).value?.hash).toBe(sha256(large));
    expect(sha256(await turn.requiredValue(sha256(large), large.length))).toBe(sha256(large));
    await engine.turns.complete(turn.turn, null);
    await engine.retention.collect(true);
    expect(sha256(await engine.requiredValue(sha256(large), large.length))).toBe(sha256(large));
    expect((await engine.verify()).damage).toEqual([]);
  });

  test("stay when another key's value of the same bytes is forgotten", async () => {
    const { engine } = await home();
    await engine.uploads.put("v", { offset: 0, bytes: large, last: true });
    await engine.write({
      space: "kv",
      kind: "kv.put",
      branch: MAIN,
      ops: [{ key: key("/old"), value: { upload: "v" } }],
    });
    const turn = await begin(engine);
    await upload(engine, turn, "/new");
    const report = await engine.retention.forget({ key: key("/old"), isPrefix: false }, true);
    expect(report.kept).toEqual([{ hash: sha256(large), key: key("/new") }]);
    await engine.turns.complete(turn.turn, null);
    expect(await hashOf(engine, "/new")).toBe(sha256(large));
    expect(sha256(await engine.requiredValue(sha256(large), large.length))).toBe(sha256(large));
  });
});

test("a key that is forgotten is so in open turns, too: what they put of it until then is covered", async () => {
  const { engine } = await home();
  await put(engine, { "/secret": "the password", "/other": "x" });
  const turn = await begin(engine);
  expect(await get(turn, "/secret")).toBe("the password");
  await set(turn, "/secret", "the password, again");
  await set(turn, "/mine", "y");
  const report = await engine.retention.forget({ key: key("/secret"), isPrefix: false }, true);
  expect(report).toMatchObject({ values: 2, kept: [] });
  await expect(get(turn, "/secret")).rejects.toMatchObject({ code: "erased" });
  expect(await engine.turns.complete(turn.turn, null)).toMatchObject({ kind: "completed", merged: true });
  await expect((async () => engine.find(key("/secret")))()).rejects.toMatchObject({ code: "erased" });
  expect(await get(await begin(engine), "/mine")).toBe("y");
  expect((await engine.verify()).damage).toEqual([]);
});

describe("vectors", () => {
  async function vector(to: StateEngine | OpenTurn, at: string, components: number[]): Promise<void> {
    const bytes = encodeVectorRecord({ vector: Float32Array.from(components), model: "", metadata: {} });
    const ops = [{ key: key(at), value: { hash: sha256(bytes), bytes } }];
    await to.write({ space: "vectors", kind: "vector.put", branch: MAIN, ops, dimension: components.length });
  }

  test("of a turn are its own; all of them are stored where a search looks", async () => {
    const { engine, storage } = await open();
    const turn = await begin(engine);
    await vector(turn, "/v", [1, 2]);
    const putsMeanwhile = vector(turn, "/w", [3, 4]);
    const view = await turn.searched();
    await putsMeanwhile;
    for await (const { hash } of view.entries("vectors")) {
      expect((await storage.read("value", [hash]))[0]).not.toBeNull();
    }
    expect(await (await engine.stateOf()).list("vectors", { limit: 9 })).toEqual([]);
    await engine.turns.complete(turn.turn, null);
    expect(await (await engine.stateOf()).list("vectors", { limit: 9 })).toHaveLength(2);
  });

  test("the first one fixes the dimension for its turn; of two turns that fix two, the second conflicts", async () => {
    const { engine } = await open();
    const [a, b, c] = [await begin(engine), await begin(engine), await begin(engine)];
    await vector(a, "/a", [1, 2]);
    await vector(b, "/b", [1, 2, 3]);
    await vector(c, "/c", [5, 6]);
    await expect(vector(b, "/b2", [1, 2])).rejects.toMatchObject({ code: "invalid" });
    expect(await engine.turns.complete(a.turn, null)).toMatchObject({ kind: "completed" });
    expect(await engine.turns.complete(b.turn, null)).toMatchObject({
      kind: "conflict",
      reason: "vectors of the turn have 3 components, and those of the branch 2 since",
    });
    expect(await engine.turns.complete(c.turn, null)).toMatchObject({ kind: "completed", merged: true });
    expect((await engine.contract())?.vectors?.dimension).toBe(2);
    expect((await (await engine.stateOf()).list("vectors", { limit: 9 })).map((entry) => entry.key)).toEqual(
      ["/a", "/c"].map(key),
    );
  });
});

test("a put over the agent's limit is refused in a turn, which goes on", async () => {
  const engine = await StateEngine.open({
    agent: AGENT,
    storage: new MemoryObjects("memory://small"),
    device: () => device(1),
    limit: () => 1 << 20,
  });
  onTestFinished(() => engine.close());
  await engine.setContract(contract());
  const turn = await begin(engine);
  await set(turn, "/a", "1");
  for (let i = 0; i < 2; i++) {
    await expect(set(turn, "/large", noise(i, 2 << 20))).rejects.toMatchObject({ code: "quota_exceeded" });
  }
  // What is not stored yet counts.
  const some = await Promise.allSettled(Array.from({ length: 8 }, (_, i) => set(turn, `/k${i}`, noise(i, 200_000))));
  expect(some.filter(({ status }) => status === "rejected").length).toBeGreaterThanOrEqual(3);
  await set(turn, "/a", null);
  expect(await engine.turns.complete(turn.turn, null)).toMatchObject({ kind: "completed" });
});

describe("many", () => {
  test("turns are open at once, each alone; more than the limit are refused", async () => {
    const { engine } = await open();
    const begun = await Promise.allSettled(Array.from({ length: 1100 }, () => begin(engine)));
    const turns = begun.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    expect(turns).toHaveLength(1024);
    const refused = begun.find(({ status }) => status === "rejected");
    expect(refused).toMatchObject({ reason: { code: "unavailable" } });
    await Promise.all(turns.map((turn, i) => set(turn, `/${i}`, `${i}`)));
    for (const turn of turns.slice(0, 50)) await engine.turns.complete(turn.turn, null);
    await Promise.all(turns.slice(50).map((turn) => engine.turns.fail(turn.turn, "enough")));
    expect(Object.keys(await contents(engine))).toHaveLength(50);
    expect(engine.liveBranches()).toHaveLength(1 + 974);
    await begin(engine);
  }, 60_000);

  test("puts in one turn are stored as it goes: little of them is in memory", { timeout: 120_000 }, async () => {
    const { engine } = await open();
    const turn = await begin(engine);
    let most = 0;
    for (let i = 0; i < 20_000; i++) {
      await set(turn, `/k${i % 500}`, `value ${i} `.repeat(20));
      most = Math.max(most, turn.unstored);
      // As requests do that come over the network.
      if (i % 50 === 0) await sleep(0);
    }
    expect(most).toBeLessThan(10 << 20);
    await turn.storing.flush();
    expect(turn.unstored).toBe(0);
    await engine.turns.complete(turn.turn, null);
  });
});

test("what is recorded of calls is stored as it goes, also in a turn that writes nothing else", async () => {
  const { engine } = await open();
  const turn = await begin(engine);
  const call = (n: number) => ({ kind: "call", values: { response: noise(n, 3 << 20) } }) as const;
  let most = 0;
  for (let n = 0; n < 8; n++) {
    await turn.record(call(n));
    most = Math.max(most, turn.unstored);
  }
  expect(most).toBeLessThan(16 << 20);
  // Soon, and not only at the turn's end: after a crash in between they are in history.
  await expect.poll(() => turn.unstored, { timeout: 5_000 }).toBe(0);
  await turn.record({ kind: "call", values: { response: Buffer.from("a short one") } });
  await expect.poll(() => turn.unstored, { timeout: 5_000 }).toBe(0);
});

test("ids of sessions may be any text, and name no branch", async () => {
  const { engine } = await open();
  for (const session of ["__proto__", "../../etc", 'a"b\\c\n', "ü🦋", "turn/x", "x".repeat(128)]) {
    const { turn } = await engine.turns.begin({ branch: MAIN, session }, `begin ${session}`);
    const kept = await engine.turns.fail(turn, session);
    if (kept.kind === "completed") throw new Error("it was to fail");
    expect(kept.branch).toMatch(/^turn\/t-[0-9a-z]+$/);
    expect(await engine.turns.index.session(session)).toMatchObject([{ turn, kind: "failed" }]);
    expect((await events(engine, kept.branch)).at(-1)).toBe("fail");
    expect(() => engine.turns.required(session)).toThrow("no open turn");
  }
});

test("a collection reads a history that grows meanwhile", async () => {
  /** Gives the commits in the order of their hashes; the first time without one that has a child. */
  class Growing extends MemoryObjects {
    hides: Hash | null = null;
    override async scan(kind: Kind, after: Hash | null, limit: number): Promise<StoredObject[]> {
      const page = await super.scan(kind, after, limit);
      return page.filter(({ hash }) => hash !== this.hides);
    }
  }
  const storage = new Growing("memory://growing");
  const { engine } = await open({ storage });
  storage.hides = (await put(engine, { "/a": "1" })) as Hash;
  await put(engine, { "/b": "1" });
  expect((await engine.retention.collect(true)).commits.all).toBe(4);
  expect(await hashOf(engine, "/a")).not.toBeNull();
});
