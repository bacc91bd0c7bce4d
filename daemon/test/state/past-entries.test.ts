import { type BranchName, type Hash, MAIN } from "@vlinder/protocol";
import { expect, onTestFinished, test, vi } from "vitest";
import { Heads } from "../../src/state/heads.ts";
import { dice } from "../sync/noise.ts";
import { BACKENDS } from "./backends.ts";
import { key, op, openEngine } from "./harness.ts";
import { DAY, newHome, openHome, put as keep } from "./retention-harness.ts";

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
  // The one that names the key.
  expect(await commitsRead("/0", 42)).toBe(1);
  // One that names the key is looked at.
  expect(await commitsRead("/20", 41)).toBeLessThan(6);
  expect(await commitsRead("/41", 40)).toBeLessThan(6);
  // One that was passed is known to be there: only the beginning of history is looked at.
  expect(await commitsRead("/41", 39)).toBe(1);
});

test("states that a read of the past came to, and that are dropped since, are not missed", async () => {
  const place = await BACKENDS["sqlite"]!();
  onTestFinished(() => place.dispose());
  const storage = await place.open();
  const home = newHome(storage);
  const engine = await openHome(home, { states: "7d" });
  onTestFinished(() => engine.close());
  const states: Hash[] = [];
  for (let n = 0; n < 150; n++) {
    if (n === 100) home.clock.tick(8 * DAY);
    states.push(await keep(engine, `/${n}`, `${n}`));
  }
  const at = async (n: number, name: string): Promise<string | null> => {
    const { value } = await engine.find(key(name), MAIN, states[n]);
    return value?.bytes?.toString() ?? null;
  };
  // Over the last stored trees before it, which are older than seven days.
  for (const n of [105, 115, 110]) expect(await at(n, "/3")).toBe("3");
  const { commits } = await engine.retention.collect(true);
  expect(commits.dropped).toBeGreaterThan(90);
  const computed = vi.spyOn(Heads.prototype, "at");
  onTestFinished(() => computed.mockRestore());
  for (const n of [116, 106, 111, 127, 148]) {
    expect(await at(n, "/3")).toBe("3");
    expect(await at(n, `/${n}`)).toBe(`${n}`);
    expect(await at(n, `/${n + 1}`)).toBe(null);
  }
  // Nor is the state computed.
  expect(computed).not.toHaveBeenCalled();
  await expect(at(90, "/3")).rejects.toMatchObject({ code: "pruned" });
});

test("on branches that part within a way each finds its own", async () => {
  const place = await BACKENDS["sqlite"]!();
  onTestFinished(() => place.dispose());
  const { engine } = await openEngine({ storage: await place.open() });
  const write = async (name: string, value: string, branch: BranchName): Promise<Hash> =>
    (await engine.write({ space: "kv", kind: "kv.put", branch, ops: [op(name, value)] })).state;
  for (let n = 0; n < 20; n++) await write(`/${n}`, "main", MAIN);
  const branches = ["left", "right"] as BranchName[];
  for (const branch of branches) await engine.fork(branch, await engine.resolve("main"));
  const states = new Map<BranchName, Hash[]>(branches.map((branch) => [branch, []]));
  for (let n = 10; n < 30; n++) {
    for (const branch of branches) states.get(branch)?.push(await write(`/${n}`, branch, branch));
  }
  await engine.close();
  const { engine: again } = await openEngine({ storage: await place.open(), contract: null });
  onTestFinished(() => again.close());
  const roll = dice(5);
  for (let i = 0; i < 600; i++) {
    const branch = branches[roll(2)] as BranchName;
    const [state, n] = [roll(20), roll(30)];
    const { value } = await again.find(key(`/${n}`), MAIN, states.get(branch)?.[state]);
    const held = n >= 10 && n <= 10 + state ? branch : n < 20 ? "main" : undefined;
    expect(value?.bytes?.toString(), `/${n} at ${state} of ${branch}`).toBe(held);
  }
});

test("commits that are too large for a way to be remembered are gone over once", async () => {
  const place = await BACKENDS["sqlite"]!();
  onTestFinished(() => place.dispose());
  const { engine } = await openEngine({ storage: await place.open() });
  const states: Hash[] = [];
  for (let n = 0; n < 62; n++) {
    // 50 kB of control characters, six bytes each.
    const ops = Array.from({ length: 8 }, (_, i) => op(`/${"\u0001".repeat(1000)}${n}/${i}`, "x"));
    states.push((await engine.write({ space: "kv", kind: "kv.batch", branch: MAIN, ops })).state);
  }
  await engine.close();
  const storage = await place.open();
  const { engine: again } = await openEngine({ storage, contract: null });
  onTestFinished(() => again.close());
  const reads = vi.spyOn(storage, "readNow");
  expect((await again.find(key("/none"), MAIN, states.at(-1))).value).toBeNull();
  expect(reads.mock.calls.filter(([kind]) => kind === "commit").length).toBeLessThan(80);
});
