import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { type BranchName, type Hash, type Key, MAIN, parseKey, sha256 } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import type { Entry } from "../../src/state/api.ts";
import type { StateEngine } from "../../src/state/engine.ts";
import type { Op } from "../../src/state/mutations.ts";
import type { StoredBranch } from "../../src/storage/object-storage.ts";
import { BACKENDS, type Place } from "./backends.ts";
import { openEngine, type TestClock } from "./harness.ts";
import { diffOf, listOf, Model, sortedEntries, type State } from "./model.ts";
import { holds, noise } from "./property.ts";

const KEYS: readonly Key[] = [
  ...Array.from({ length: 24 }, (_, i) => `/k/${i}`),
  "/ä",
  "/äö/1",
  "/日本/語",
  "/🦋",
  "/\u007f",
  "/\uffff",
  "a",
  "/k",
  "/k/",
  `/long/${"ü".repeat(500)}`,
].map(parseKey);

/** Numbers that choose: which branch, key or commit they mean depends on what there is by then. */
type Command =
  | { do: "write"; branch: number; ops: readonly (readonly [key: number, value: number | null, expect: Expect])[] }
  | { do: "many"; branch: number; puts: number; seed: number }
  | { do: "batch"; branch: number; size: number; seed: number }
  | { do: "fork"; from: number }
  | { do: "rewind"; branch: number; to: number }
  | { do: "delete"; branch: number };
type Expect = "anything" | "what is there" | "nothing" | "something else";

const n = fc.nat(1_000_000);
const expectation = fc.constantFrom<Expect>(
  "anything",
  "anything",
  "anything",
  "what is there",
  "nothing",
  "something else",
);
const change = fc.tuple(fc.nat(KEYS.length - 1), fc.option(fc.nat(60), { freq: 4 }), expectation);
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant("write" as const),
      branch: n,
      ops: fc.uniqueArray(change, { minLength: 1, maxLength: 4, selector: ([key]) => key }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("many" as const),
      branch: n,
      puts: fc.integer({ min: 1, max: 70 }),
      seed: n,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("batch" as const),
      branch: n,
      size: fc.constantFrom(256, 257, 600, 1000),
      seed: n,
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("fork" as const), from: n }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("rewind" as const), branch: n, to: n }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("delete" as const), branch: n }) },
);
/** Commands of one round are all under way at once. A merge has a round of its own. */
const round = fc.record({
  commands: fc.array(command, { maxLength: 8 }),
  merge: fc.option(fc.tuple(n, n), { freq: 3 }),
});

const pick = <T>(items: readonly T[], by: number): T => items[by % items.length] as T;

/** Every sixth value is large enough to be stored in chunks. */
function valueOf(number: number): Buffer {
  return number % 6 === 5 ? noise(number, 70_000 + number) : Buffer.from(number === 0 ? "" : `value ${number}`);
}

function putOf(key: Key, number: number): { op: Op; entry: Entry } {
  const bytes = valueOf(number);
  const hash = sha256(bytes);
  return { op: { key, value: { hash, bytes } }, entry: { key, hash, size: bytes.length } };
}

/** Sends commands to an engine and does the same to the model, in the order of sending. */
class Twin {
  readonly model = new Model();
  readonly engine: StateEngine;
  readonly #clock: TestClock;
  #forks = 0;

  constructor(engine: StateEngine, clock: TestClock) {
    this.engine = engine;
    this.#clock = clock;
    const { head } = engine.branch(MAIN);
    this.model.states.set(head, new Map());
    this.model.branches.set(MAIN, new Map());
  }

  /** Answers settle later; the model has moved on when this returns. */
  send(command: Command): Promise<void>[] {
    this.#clock.tick();
    const names = [...this.model.branches.keys()];
    if (command.do === "fork") return [this.#fork(pick(this.model.commits(), command.from))];
    const name = pick(names, command.branch);
    if (command.do === "rewind") return [this.#rewind(name, pick(this.model.commits(), command.to))];
    if (command.do === "delete") return [this.#delete(name)];
    if (command.do === "write") return [this.#write(name, command.ops)];
    const at = (i: number): Key => pick(KEYS, command.seed + i);
    if (command.do === "many") {
      return Array.from({ length: command.puts }, (_, i) =>
        this.#put(name, [putOf(at(i * 7), (command.seed + i) % 5)]),
      );
    }
    const key = (i: number): Key => parseKey(`/many/${String((command.seed + i) % 1500).padStart(4, "0")}`);
    return [
      this.#put(
        name,
        Array.from({ length: command.size }, (_, i) => putOf(key(i), command.seed % 5)),
      ),
    ];
  }

  async merge(into: number, from: number): Promise<void> {
    const names = [...this.model.branches.keys()];
    const [to, other] = [pick(names, into), pick(names, from)];
    const { state } = await this.engine.merge(to, this.engine.branch(other).head);
    // What a merge gives has tests of its own; that it stays what it is, is tested here.
    const merged = new Map<Key, Entry>();
    for await (const entry of (await this.engine.view(state)).entries("kv")) merged.set(entry.key, entry);
    this.model.branches.set(to, merged);
    this.model.states.set(state, new Map(merged));
  }

  #state(name: BranchName): Map<Key, Entry> {
    return this.model.branches.get(name) as Map<Key, Entry>;
  }

  #put(name: BranchName, puts: readonly { op: Op; entry: Entry }[]): Promise<void> {
    const state = this.#state(name);
    for (const { entry } of puts) state.set(entry.key, entry);
    return this.#sent(
      name,
      puts.map(({ op }) => op),
      new Map(state),
      true,
    );
  }

  #write(name: BranchName, asked: readonly (readonly [number, number | null, Expect])[]): Promise<void> {
    const state = this.#state(name);
    const next = new Map(state);
    const ops: Op[] = [];
    let holds = true;
    let changes = false;
    for (const [at, number, expectation] of asked) {
      const key = KEYS[at] as Key;
      const now = state.get(key)?.hash ?? null;
      const expected = { anything: undefined, "what is there": now, nothing: null, "something else": sha256("else") }[
        expectation
      ];
      if (expected !== undefined && expected !== now) holds = false;
      const put = number === null ? null : putOf(key, number);
      ops.push({ key, value: put?.op.value ?? null, ...(expected === undefined ? {} : { expect: expected }) });
      if (put !== null) next.set(key, put.entry);
      else next.delete(key);
      changes ||= put !== null || now !== null;
    }
    if (!holds) return expect(this.#request(name, ops)).rejects.toMatchObject({ code: "conflict" });
    this.model.branches.set(name, next);
    return this.#sent(name, ops, new Map(next), changes);
  }

  #request(branch: BranchName, ops: readonly Op[]): ReturnType<StateEngine["write"]> {
    return this.engine.write({ space: "kv", kind: "kv.batch", branch, ops });
  }

  async #sent(name: BranchName, ops: readonly Op[], after: State, changes: boolean): Promise<void> {
    const { state } = await this.#request(name, ops);
    if (changes) expect(this.model.states.has(state)).toBe(false);
    this.model.states.set(state, after);
  }

  async #fork(from: Hash): Promise<void> {
    const name = `fork-${this.#forks++}` as BranchName;
    this.model.branches.set(name, new Map(this.model.states.get(from)));
    expect(await this.engine.fork(name, from)).toMatchObject({ state: from });
  }

  async #rewind(name: BranchName, to: Hash): Promise<void> {
    const after = new Map(this.model.states.get(to));
    this.model.branches.set(name, new Map(after));
    const { state } = await this.engine.rewind(name, to);
    this.model.states.set(state, after);
  }

  async #delete(name: BranchName): Promise<void> {
    if (name === MAIN) return await expect(this.engine.deleteBranch(name)).rejects.toMatchObject({ code: "invalid" });
    this.model.branches.delete(name);
    await this.engine.deleteBranch(name);
  }
}

async function readAll(engine: StateEngine, commit: Hash): Promise<Entry[]> {
  const all: Entry[] = [];
  for await (const entry of (await engine.view(commit)).entries("kv")) all.push(entry);
  return all;
}

async function checkState(engine: StateEngine, commit: Hash, state: State, by: number): Promise<void> {
  const view = await engine.view(commit);
  const all = sortedEntries(state);
  expect(await readAll(engine, commit)).toEqual(all);
  expect(await view.totals("kv")).toEqual({ count: all.length, bytes: all.reduce((sum, { size }) => sum + size, 0) });
  const prefix = pick(
    ["", "/", "/k", "/k/", "/ä", "/many/01", "zzz", "/🦋"].map((text) => (text === "" ? "" : parseKey(text))),
    by,
  ) as Key;
  const after = by % 3 === 0 ? undefined : pick([...KEYS, parseKey("/many/0700")], by);
  const limit = 1 + (by % 7);
  const page = { prefix, limit, ...(after === undefined ? {} : { after }) };
  expect(await view.list("kv", page)).toEqual(listOf(state, prefix, after, limit));
  for (const key of [pick(KEYS, by), pick(KEYS, by + 1)])
    expect(await view.get("kv", key)).toEqual(state.get(key) ?? null);
}

async function checkDiff(engine: StateEngine, model: Model, from: Hash, to: Hash): Promise<void> {
  const differences: unknown[] = [];
  for await (const entry of (await engine.view(from)).diff("kv", await engine.view(to))) differences.push(entry);
  expect(differences).toEqual(diffOf(model.states.get(from) as State, model.states.get(to) as State));
}

/** Evenly over all of history, since old states are where replay and eviction can go wrong. */
function spread<T>(items: readonly T[], count: number): T[] {
  return items.filter((_, i) => i % Math.ceil(items.length / count) === 0);
}

async function checkAll(engine: StateEngine, model: Model, by: number): Promise<void> {
  const commits = spread(model.commits(), 60);
  for (const [i, commit] of commits.entries()) {
    await checkState(engine, commit, model.states.get(commit) as State, by + i);
    await checkDiff(engine, model, commit, pick(commits, by + i * 31));
  }
  const heads = engine.liveBranches();
  expect(heads.map(({ name }) => name).sort()).toEqual([...model.branches.keys()].sort());
  for (const { name, head } of heads) {
    expect(await readAll(engine, head)).toEqual(sortedEntries(model.branches.get(name as BranchName) as State));
  }
}

async function readBytes(engine: StateEngine, model: Model): Promise<void> {
  const { head } = engine.branch(MAIN);
  for (const { hash, size } of sortedEntries(model.branches.get(MAIN) as State).slice(0, 20)) {
    const bytes = await engine.requiredValue(hash, size);
    expect([sha256(bytes), bytes.length]).toEqual([hash, size]);
  }
  expect((await engine.view(head)).commit).toBe(head);
}

function byId(branches: readonly StoredBranch[]): StoredBranch[] {
  return branches.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

async function run(
  place: Place,
  rounds: readonly { commands: readonly Command[]; merge: [number, number] | null }[],
): Promise<void> {
  const { engine, clock } = await openEngine({ storage: await place.open() });
  const twin = new Twin(engine, clock);
  for (const [i, { commands, merge }] of rounds.entries()) {
    const past = spread(twin.model.commits(), 4);
    const answers = Promise.all(commands.flatMap((command) => twin.send(command)));
    // The past is read while the writes are under way.
    const reads = (async () => {
      for (const commit of past) {
        expect(await readAll(engine, commit)).toEqual(sortedEntries(twin.model.states.get(commit) as State));
        await nextTurn();
      }
    })();
    await Promise.all([answers, reads]);
    if (merge !== null) await twin.merge(merge[0] + i, merge[1]);
  }
  await checkAll(engine, twin.model, rounds.length);
  await readBytes(engine, twin.model);
  const before = byId(engine.branches());
  await engine.close();

  const again = await openEngine({ storage: await place.open() });
  expect(byId(again.engine.branches())).toEqual(before);
  await checkAll(again.engine, twin.model, rounds.length + 1);
  const report = await again.engine.verify();
  expect(report.damage).toEqual([]);
  await again.engine.close();
}

describe.each([
  ["memory", 20],
  ["sqlite", 4],
] as const)("against a plain map for each commit, on %s", (backend, runs) => {
  test(
    "every state reads back, lists and differs as the model does, also after a restart",
    { timeout: 120_000 },
    async () => {
      const property = fc.asyncProperty(fc.array(round, { minLength: 1, maxLength: 8 }), async (rounds) => {
        const place = await (BACKENDS[backend] as () => Promise<Place>)();
        try {
          await run(place, rounds);
        } finally {
          await place.dispose();
        }
      });
      await holds(`model on ${backend}`, property, runs);
    },
  );
});
