import { expect, test } from "vitest";
import { op, put, TestClock } from "../harness.ts";
import { begin, get, open, set } from "./turn-harness.ts";

test("the signal says that a turn has ended, to who asked before and to who asks behind it", async () => {
  const { engine } = await open();
  const turn = await begin(engine);
  const early = turn.signal;
  expect(early.aborted).toBe(false);
  await engine.turns.fail(turn.turn, "no more");
  expect(early.reason).toMatchObject({ code: "conflict", message: "the turn has ended: no more" });
  const other = await begin(engine);
  await engine.turns.complete(other.turn, null);
  expect(other.signal.aborted).toBe(true);
  expect(other.signal.reason).toMatchObject({ message: "the turn has ended: it was completed" });
});

test("a turn reads the state that it began from, whatever is at hand of later ones, and what it wrote itself", async () => {
  const { engine } = await open();
  await put(engine, { "/a": "old", "/b": "old", "/c": "old" });
  const turn = await begin(engine);
  expect([await get(turn, "/a"), await get(turn, "/e")]).toEqual(["old", null]);
  await set(turn, "/e", "mine");
  expect(await get(turn, "/e")).toBe("mine");
  await put(engine, { "/a": "new", "/b": "new", "/c": null, "/d": "new" });
  // At hand at the branch's head.
  for (const at of ["/a", "/b", "/c", "/d"]) await engine.find(op(at, null).key);
  for (const at of ["/a", "/b", "/c"]) expect(await get(turn, at)).toBe("old");
  expect(await get(turn, "/d")).toBeNull();
  await set(turn, "/b", "mine");
  await set(turn, "/c", null);
  expect([await get(turn, "/a"), await get(turn, "/b"), await get(turn, "/c")]).toEqual(["old", "mine", null]);
  // A delete of what is not there changes nothing.
  await set(turn, "/d", null);
  expect(await get(turn, "/d")).toBeNull();
});

test("a commit has the clock's time, to the millisecond", async () => {
  const clock = new TestClock();
  const { engine } = await open({ clock });
  for (const more of [7, 70, 907, 16, 1]) {
    clock.tick(more);
    const state = await put(engine, { "/a": String(more) });
    expect((await engine.commit(await engine.resolve(state))).time).toBe(clock.now().toISOString());
  }
});
