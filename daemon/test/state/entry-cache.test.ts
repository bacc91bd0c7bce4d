import {
  type BranchName,
  type Changes,
  type Commit,
  type Hash,
  MAIN,
  parseBranchName,
  sha256,
} from "@vlinder/protocol";
import { expect, onTestFinished, test } from "vitest";
import { EntryCache } from "../../src/state/entry-cache.ts";
import type { StateEngine } from "../../src/state/engine.ts";
import type { StateView } from "../../src/state/view.ts";
import { dice } from "../sync/noise.ts";
import { BACKENDS } from "./backends.ts";
import { key, openEngine, put } from "./harness.ts";
import { begin, set } from "./turns/turn-harness.ts";

const KEYS = 40;

/** What a get says is what the tree of the state has that it names. */
async function check(engine: StateEngine, branch: BranchName, at: string): Promise<void> {
  const found = await engine.find(key(at), branch);
  const entry = await (await engine.view(found.state)).get("kv", key(at));
  const held = found.value && { hash: found.value.hash, size: found.value.size };
  expect({ branch, at, held }).toEqual({ branch, at, held: entry && { hash: entry.hash, size: entry.size } });
}

test("what is read of a head is not taken for what the next one has", async () => {
  const cache = new EntryCache(() => {});
  const [old, fresh] = ["old", "new"].map((text) => ({ key: key("/a"), hash: sha256(text), size: 3 }));
  const [first, second] = [sha256("first"), sha256("second")];
  const late = Promise.withResolvers<typeof old>();
  const view = (commit: Hash, entry: unknown): StateView => ({ commit, getNow: () => entry }) as unknown as StateView;
  const reading = cache.find(view(first, late.promise), key("/a"));
  cache.met(second, { parents: [first] } as unknown as Commit, { kv: [[key("/a"), fresh!.hash, 3]] });
  cache.moved([{ branch: first, name: "main", from: first, to: second }]);
  late.resolve(old!);
  expect(await reading).toEqual(old);
  expect(cache.find(view(second, fresh), key("/a"))).toEqual(fresh);
  expect(cache.find(view(second, "not asked"), key("/a"))).toEqual(fresh);
});

test("who keeps values hears of those that a branch's head holds no more", async () => {
  const replaced: Hash[] = [];
  const cache = new EntryCache((hash) => replaced.push(hash));
  const [one, two, three, four, five] = Array.from({ length: 5 }, (_, i) => sha256(`${i}`)) as [
    Hash,
    Hash,
    Hash,
    Hash,
    Hash,
  ];
  const view = { commit: one, getNow: () => null } as unknown as StateView;
  await cache.find(view, key("/a"));
  const put = (commit: Hash, parent: Hash, value: Hash | null): void => {
    cache.met(commit, { parents: [parent] } as unknown as Commit, { kv: [[key("/a"), value, 3]] } as Changes);
    cache.moved([{ branch: commit, name: "main", from: parent, to: commit }]);
  };
  put(two, one, sha256("first"));
  expect(replaced).toEqual([]);
  put(three, two, sha256("second"));
  put(one, three, sha256("second"));
  put(two, one, null);
  expect(replaced).toEqual([sha256("first"), sha256("second")]);
  // Within one move it comes back.
  const change = (commit: Hash, parent: Hash, value: string): void =>
    cache.met(commit, { parents: [parent] } as unknown as Commit, { kv: [[key("/a"), sha256(value), 3]] } as Changes);
  put(three, two, sha256("third"));
  change(four, three, "fourth");
  change(five, four, "third");
  cache.moved([{ branch: one, name: "main", from: three, to: five }]);
  expect(replaced.slice(2)).toEqual([sha256("fourth")]);
});

test.each([1, 2, 3, 4])("whatever moves branches, a get says what their states hold (seed %i)", async (seed) => {
  const place = await BACKENDS[seed % 2 === 0 ? "sqlite" : "memory"]!();
  onTestFinished(() => place.dispose());
  const { engine, clock } = await openEngine({ storage: await place.open() });
  onTestFinished(() => engine.close());
  const roll = dice(seed);
  const any = <T>(list: readonly T[]): T => list[roll(list.length)] as T;
  const aKey = (): string => `/k${roll(KEYS)}`;
  const branches = (): BranchName[] =>
    engine.liveBranches().flatMap(({ name, sealed }) => (sealed ? [] : [parseBranchName(name)]));
  const states: Hash[] = [];
  const write = async (branch: BranchName): Promise<void> => {
    const keys = Array.from({ length: 1 + roll(4) }, aKey);
    await put(engine, Object.fromEntries(keys.map((at) => [at, roll(4) === 0 ? null : `${roll(1000)}`])), branch);
  };
  const turn = async (): Promise<void> => {
    const open = await begin(engine);
    for (let i = 0; i < 3; i++) await set(open, aKey(), `${roll(1000)}`);
    if (roll(3) === 0) await open.storing.flush();
    if (roll(3) === 0) await write(MAIN);
    if (roll(4) === 0) await engine.turns.fail(open.turn, "so");
    else await engine.turns.complete(open.turn, null);
  };
  let name = 0;
  for (let step = 0; step < 250; step++) {
    clock.tick();
    const what = roll(20);
    const branch = any(branches());
    const reads = Array.from({ length: 4 }, () => check(engine, branch, aKey()));
    if (what < 10) await Promise.all(Array.from({ length: 1 + roll(5) }, () => write(any(branches()))));
    else if (what < 13) await turn();
    else if (what < 15) await engine.rewind(branch, any(states) ?? (engine.branch(MAIN).head as Hash)).catch(() => {});
    else if (what < 17) await engine.merge(branch, engine.branch(any(branches())).head);
    else if (what < 18 && branch !== MAIN) await engine.promote(branch, MAIN);
    else if (what < 19 && branch !== MAIN) await engine.deleteBranch(branch);
    else await engine.fork(parseBranchName(`b${name++}`), engine.branch(branch).head);
    await Promise.all(reads);
    states.push(engine.branch(MAIN).head);
    for (const live of branches()) for (let i = 0; i < 6; i++) await check(engine, live, aKey());
  }
});
