import { type BranchName, type Hash, MAIN, parseRefTime } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { lookingBack } from "../../src/state/history/lookback.ts";
import { Timeline } from "../../src/state/history/timeline.ts";
import { Heads } from "../../src/state/heads.ts";
import { Objects } from "../../src/state/objects.ts";
import { Keeping } from "../../src/state/retention/keeping.ts";
import { StoredSource } from "../../src/state/source.ts";
import { MemorySegments } from "../../src/storage/segments/segment-storage.ts";
import { op, type Opened, openEngine, put } from "./harness.ts";
import { emptyMachine, machine, send, settle } from "./machines.ts";

const FIX = "fix" as BranchName;
const MINUTE = 60_000;

/** Puts at 12:01, 12:02, … */
async function minutes(opened: Opened, count: number, branch: BranchName = MAIN): Promise<Hash[]> {
  const states: Hash[] = [];
  for (let i = 0; i < count; i++) {
    opened.clock.tick(MINUTE);
    states.push((await put(opened.engine, { [`/${branch}/${i}`]: "x" }, branch)) as Hash);
  }
  return states;
}

const at = (minute: string, branch = ""): string => `${branch === "" ? "" : `${branch}@`}2026-11-20T${minute}Z`;

describe("a time", () => {
  test("is read as ISO 8601, UTC when it names no zone, and a date is its beginning", () => {
    const read: [string, string | null][] = [
      ["2026-11-20", "2026-11-20T00:00:00.000Z"],
      ["2026-11-20T21:40", "2026-11-20T21:40:00.000Z"],
      ["2026-11-20T21:40Z", "2026-11-20T21:40:00.000Z"],
      ["2026-11-20T21:40:05.5+02:00", "2026-11-20T19:40:05.500Z"],
      ["2024-02-29", "2024-02-29T00:00:00.000Z"],
      ["2026-02-29", null],
      ["2026-11-20T25:00Z", null],
      ["2026-11-20 21:40", null],
      ["0000-01-01T00:00+01:00", null],
      ["20261120", null],
      ["yesterday", null],
      ["", null],
    ];
    expect(read.map(([text]) => [text, parseRefTime(text)])).toEqual(read);
  });

  test("names the newest commit of main from then or before", async () => {
    const opened = await openEngine();
    const { engine } = opened;
    const [one, two, three] = await minutes(opened, 3);
    expect(await engine.resolve(at("12:01"))).toBe(one);
    expect(await engine.resolve(at("12:01:59.999"))).toBe(one);
    expect(await engine.resolve(at("12:02", "main"))).toBe(two);
    expect(await engine.resolve("@2026-11-20T13:02+01:00")).toBe(two);
    expect(await engine.resolve("2026-11-21")).toBe(three);
    // A branch may be called like that.
    await engine.fork("2026-11-21" as BranchName, one as Hash);
    expect(await engine.resolve("2026-11-21")).toBe(one);
    expect(await engine.resolve("@2026-11-21")).toBe(three);
  });

  test("before the first write, on no branch, or not to be read: an error that says so", async () => {
    const opened = await openEngine();
    await minutes(opened, 1);
    const failure = (ref: string): Promise<unknown> =>
      opened.engine.resolve(ref).catch((error: unknown) => error as object);
    expect(await failure("2026-11-20")).toMatchObject({
      code: "not_found",
      details: { branch: "main", time: "2026-11-20T00:00:00.000Z", oldest: "2026-11-20T12:01:00.000Z" },
    });
    expect(await failure("none@2026-11-21")).toMatchObject({ code: "not_found", details: { branch: "none" } });
    expect(await failure("main@noon")).toMatchObject({ code: "invalid" });
    expect(await failure("main@")).toMatchObject({ code: "invalid" });
    expect(await failure("noon")).toMatchObject({ code: "not_found" });
    for (let i = 0; i < 2; i++) expect(await failure("ab".repeat(32))).toMatchObject({ code: "not_found" });
  });

  test("goes along what was the branch then, through merges and promotes", async () => {
    const opened = await openEngine();
    const { engine } = opened;
    const [one] = await minutes(opened, 1);
    await engine.fork(FIX, one as Hash);
    const [fix2] = await minutes(opened, 1, FIX);
    const [main3] = await minutes(opened, 1);
    await engine.promote(FIX, MAIN);
    const [main4] = await minutes(opened, 1);
    expect(await engine.resolve(at("12:02", "main"))).toBe(one);
    expect(await engine.resolve(at("12:03:00.000", "broken-2026-11-20"))).toBe(main3);
    expect(await engine.resolve(at("12:02:30", "fix"))).toBe(fix2);
    // A fork of main goes on down main, and not into what came into it.
    await engine.fork("later" as BranchName, main4 as Hash);
    await minutes(opened, 1, "later" as BranchName);
    expect(await engine.resolve(at("12:02", "later"))).toBe(one);
  });

  test("two machines that wrote on it at the same time: the newer of both, and the same on both", async () => {
    const [a, b] = [await machine(1), await emptyMachine(2)];
    await minutes(a, 1);
    await send(a.engine, b.engine);
    b.clock.tick(1.5 * MINUTE);
    const [a2] = await minutes(a, 2);
    const [b25] = await minutes(b, 1);
    await settle([a.engine, b.engine]);
    for (const { engine } of [a, b]) {
      expect(await engine.resolve(at("12:02"))).toBe(a2);
      expect(await engine.resolve(at("12:02:30"))).toBe(b25);
      // A merge has the later parent's time.
      expect(await engine.resolve(at("12:03"))).toBe(engine.branch(MAIN).head);
    }
  });

  test("is found over the index in a few reads, and the same commits as without it", async () => {
    const opened = await openEngine();
    const { engine, storage } = opened;
    const states = await minutes(opened, 300);
    const objects = new Objects(storage);
    const { pruned, watch, erased } = await Keeping.open(storage);
    const source = new StoredSource(objects, new Heads(objects, pruned, watch), erased);
    const timeline = new Timeline(source, new MemorySegments(), 20);
    const main = engine.branch(MAIN);
    timeline.index.catchUp(main.id, main.head);
    await timeline.index.settle();
    let reads = 0;
    const counting = Object.create(source, {
      commit: { value: (hash: Hash) => (reads++, source.commit(hash)) },
    }) as StoredSource;
    const never = async (): Promise<boolean> => false;
    for (const [i, state] of states.entries()) {
      const time = (await engine.commit(state)).time as string;
      reads = 0;
      expect((await lookingBack(counting, timeline.index.segment)(main, time, never)).found).toBe(state);
      expect(reads, `${300 - i} back`).toBeLessThanOrEqual(22);
      expect((await lookingBack(source, () => null)(main, time, never)).found).toBe(state);
    }
  });
});

describe("a turn", () => {
  test("names the commit that ended it, and is not seen before", async () => {
    const opened = await openEngine();
    const { engine, clock } = opened;
    const [before] = await minutes(opened, 1);
    clock.tick(MINUTE);
    const { turn } = await engine.turns.begin({ branch: MAIN });
    await engine.turns.required(turn).write({ space: "kv", kind: "kv.put", branch: MAIN, ops: [op("/in-turn", "x")] });
    await expect(engine.resolve(turn)).rejects.toMatchObject({ code: "not_found" });
    clock.tick(MINUTE);
    const { commit } = await engine.turns.complete(turn, null);
    const [after] = await minutes(opened, 1);
    expect(await engine.resolve(turn)).toBe(commit);
    expect(await engine.resolve(at("12:02"))).toBe(before);
    expect(await engine.resolve(at("12:03"))).toBe(commit);
    expect(await engine.resolve(at("12:04"))).toBe(after);
    await expect(engine.resolve("t-2")).rejects.toMatchObject({ code: "not_found" });
    await engine.close();
  });
});
