import { type Hash, MAIN } from "@vlinder/protocol";
import { expect, onTestFinished, test, vi } from "vitest";
import { dice } from "../sync/noise.ts";
import { BACKENDS } from "./backends.ts";
import { key, op, openEngine } from "./harness.ts";

const KEYS = ["/a", "/b", "/c", "/a/b", '/"quoted"'];
const COMMITS = 150;

test("reads of many keys at many commits of the past, in any order, find what was there", async () => {
  const place = await BACKENDS["sqlite"]!();
  onTestFinished(() => place.dispose());
  const storage = await place.open();
  const { engine } = await openEngine({ storage });
  const roll = dice(11);
  const now = new Map<string, string>();
  const history: { state: Hash; held: ReadonlyMap<string, string> }[] = [];
  for (let n = 0; n < COMMITS; n++) {
    // Others are written much more often, so that most commits are stepped over; some write many keys, or take them away.
    const name = roll(6) === 0 ? (KEYS[roll(KEYS.length)] as string) : `/other/${n}`;
    const value = roll(9) === 0 ? null : `${n} ${"x".repeat(roll(40) === 0 ? 3000 : 3)}`;
    const more = roll(12) === 0 ? Array.from({ length: 60 }, (_, i) => op(`/many/${i}`, `${n} ${i}`)) : [];
    const ops = [op(name, value), ...more];
    if (value === null && !now.has(name)) continue;
    if (value === null) now.delete(name);
    else now.set(name, value);
    const { state } = await engine.write({ space: "kv", kind: "kv.batch", branch: MAIN, ops });
    history.push({ state: state as Hash, held: new Map(now) });
  }
  await engine.close();

  const { engine: again } = await openEngine({ storage: await place.open(), contract: null });
  onTestFinished(() => again.close());
  for (let n = 0; n < 1500; n++) {
    const { state, held } = history[roll(history.length)] as (typeof history)[number];
    const name = KEYS[roll(KEYS.length)] as string;
    const found = await again.find(key(name), MAIN, state);
    expect(found.value?.bytes?.toString() ?? null, `${name} at ${state}`).toBe(held.get(name) ?? null);
  }
});

test("what a read of the past has stepped over is not read again for the next one", async () => {
  const place = await BACKENDS["sqlite"]!();
  onTestFinished(() => place.dispose());
  const { engine } = await openEngine({ storage: await place.open() });
  const states: string[] = [];
  for (let n = 0; n < 60; n++) {
    states.push((await engine.write({ space: "kv", kind: "kv.put", branch: MAIN, ops: [op(`/${n}`, `${n}`)] })).state);
  }
  await engine.close();
  const storage = await place.open();
  const { engine: again } = await openEngine({ storage, contract: null });
  onTestFinished(() => again.close());
  const reads = vi.spyOn(storage, "readNow");
  const commitsRead = async (name: string, at: number): Promise<number> => {
    reads.mockClear();
    const { value } = await again.find(key(name), MAIN, states[at]);
    expect(value?.bytes?.toString() ?? null).toBe(Number(name.slice(1)) <= at ? name.slice(1) : null);
    return reads.mock.calls.filter(([kind]) => kind === "commit").length;
  };
  expect(await commitsRead("/0", 40)).toBeGreaterThan(30);
  expect(await commitsRead("/0", 42)).toBeLessThan(6);
  // One that names the key is looked at.
  expect(await commitsRead("/20", 41)).toBeLessThan(6);
  expect(await commitsRead("/41", 40)).toBeLessThan(6);
});
