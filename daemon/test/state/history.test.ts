import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { type BranchName, type Commit, type Hash, type Key, MAIN, parseKey } from "@vlinder/protocol";
import { afterAll, describe, expect, test } from "vitest";
import { isNewer, timeOf } from "../../src/state/ancestry.ts";
import { Heads } from "../../src/state/heads.ts";
import { Heap } from "../../src/state/heap.ts";
import { type HistoryEntry, keyChange } from "../../src/state/key-history.ts";
import { lastChanges } from "../../src/state/last-change.ts";
import { Objects } from "../../src/state/objects.ts";
import { Keeping } from "../../src/state/retention/keeping.ts";
import { type Source, StoredSource } from "../../src/state/source.ts";
import { HistoryIndex } from "../../src/state/history/history-index.ts";
import { Timeline } from "../../src/state/history/timeline.ts";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";
import { MemorySegments, type SegmentRow, type SegmentStorage } from "../../src/storage/segments/segment-storage.ts";
import { SqliteSegments } from "../../src/storage/segments/sqlite-segments.ts";
import { type Opened, op, openEngine, put } from "./harness.ts";
import { machine, meet, send } from "./machines.ts";
import { holds } from "./property.ts";

const KEYS = ["/a", "/b", "/c", "/d", "/e"].map(parseKey);
const folders: string[] = [];

afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true });
});

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "vlinder-history-"));
  folders.push(folder);
  return folder;
}

async function sourceOf(storage: ObjectStorage): Promise<StoredSource> {
  const objects = new Objects(storage);
  const { pruned, watch, erased } = await Keeping.open(storage);
  return new StoredSource(objects, new Heads(objects, pruned, watch), erased);
}

/** Every commit, newest first, with nothing stepped over. */
async function wholeLog(source: Source, from: Hash): Promise<{ hash: Hash; commit: Commit }[]> {
  const seen = new Set<Hash>([from]);
  const open = new Heap<{ hash: Hash; time: string; commit: Commit }>(isNewer);
  const push = async (hash: Hash): Promise<void> => {
    const commit = await source.commit(hash);
    open.push({ hash, time: timeOf(commit), commit });
  };
  const log: { hash: Hash; commit: Commit }[] = [];
  await push(from);
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    log.push(at);
    for (const parent of at.commit.parents) {
      if (seen.has(parent)) continue;
      seen.add(parent);
      await push(parent);
    }
  }
  return log;
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

async function wholeHistory(source: Source, key: Key, from: Hash): Promise<HistoryEntry[]> {
  const entries = await Promise.all((await wholeLog(source, from)).map((met) => keyChange(source, key, met)));
  return entries.filter((entry) => entry !== null);
}

/** All pages, one after the other. */
async function paged(timeline: Timeline, key: Key, from: Hash, limit: number): Promise<HistoryEntry[]> {
  const all: HistoryEntry[] = [];
  for (let after: Hash | undefined; ;) {
    const { items, next } = await timeline.historyPage(key, { from: [from], asked: from, after, limit });
    all.push(...items);
    if (next === null) return all;
    after = next;
  }
}

/** Damages and loses rows now and then, as a file may. */
class FaultySegments implements SegmentStorage {
  readonly #rows = new MemorySegments();
  readonly #fault: (n: number) => "lost" | "damaged" | null;
  #n = 0;
  faults = 0;

  constructor(fault: (n: number) => "lost" | "damaged" | null) {
    this.#fault = fault;
  }
  get(top: Hash): Uint8Array | null {
    return this.#rows.get(top);
  }
  put(rows: readonly SegmentRow[], unfinished: readonly Hash[]): void {
    const kept = rows.flatMap(({ top, body }) => {
      const fault = this.#fault(this.#n++);
      if (fault !== null) this.faults++;
      const bytes = Buffer.from(body);
      bytes[this.#n % bytes.length]! ^= 1 << (this.#n % 8);
      return fault === "lost" ? [] : [{ top, body: fault === "damaged" ? bytes : body }];
    });
    this.#rows.put(kept, unfinished);
  }
  unfinished(): Hash[] {
    return this.#rows.unfinished();
  }
  close(): void {}
}

type Step =
  | { do: "write"; at: number; branch: number; keys: readonly number[]; put: boolean; tick: number }
  | { do: "change"; how: "fork" | "rewind" | "merge" | "promote"; at: number; branch: number; back: number }
  | { do: "exchange"; both: boolean }
  | { do: "index"; at: number };

const at = fc.nat(1);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant("write" as const),
      at,
      branch: fc.nat(3),
      keys: fc.uniqueArray(fc.nat(KEYS.length - 1), { minLength: 1, maxLength: 2 }),
      put: fc.constantFrom(true, true, true, false),
      // Often none: many commits of one time, which their hashes put in order.
      tick: fc.constantFrom(0, 0, 0, 1),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("change" as const),
      how: fc.constantFrom("fork" as const, "rewind" as const, "merge" as const, "promote" as const),
      at,
      branch: fc.nat(3),
      back: fc.nat(12),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("exchange" as const), both: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("index" as const), at }) },
);

/** Two machines that write on several branches, fork, rewind, merge, promote, and hear of each other. */
class Party {
  readonly machines: readonly Opened[];
  readonly #indexed: readonly Timeline[];
  #n = 0;

  constructor(machines: readonly Opened[], indexed: readonly Timeline[]) {
    this.machines = machines;
    this.#indexed = indexed;
  }

  async step(step: Step): Promise<void> {
    if (step.do === "exchange") {
      const [a, b] = [this.#at(0).engine, this.#at(1).engine];
      return void (await (step.both ? meet(a, b) : send(a, b)));
    }
    const { engine, clock } = this.#at(step.at);
    if (step.do === "index") return await this.index(step.at);
    const branches = engine.liveBranches().filter(({ sealed }) => !sealed);
    const { name, head } = branches[step.branch % branches.length] as (typeof branches)[number];
    if (step.do === "write") {
      clock.tick(step.tick);
      const ops = step.keys.map((k) => op(KEYS[k] as Key, step.put ? `value ${this.#n++ % 9}` : null));
      await engine.write({ space: "kv", kind: "kv.batch", branch: name as BranchName, ops });
    } else if (step.how === "merge") {
      await engine.merge(name as BranchName, (branches[step.back % branches.length] as (typeof branches)[number]).head);
    } else if (step.how === "promote") {
      const promoted = (branches[step.back % branches.length] as (typeof branches)[number]).name;
      await engine.promote(promoted as BranchName, name as BranchName).catch((error: unknown) => {
        expect(error).toMatchObject({ code: "invalid" });
      });
    } else {
      let back = head;
      for (let i = 0; i < step.back; i++) back = (await engine.commit(back)).parents[0] ?? back;
      if (step.how === "fork") await engine.fork(`fork-${step.at}-${this.#n++}` as BranchName, back);
      else await engine.rewind(name as BranchName, back);
    }
  }

  async index(i: number): Promise<void> {
    const timeline = this.#indexed[i] as Timeline;
    for (const { id, head } of this.#at(i).engine.liveBranches()) timeline.index.catchUp(id, head);
    await timeline.index.settle();
  }

  #at(i: number): Opened {
    return this.machines[i % this.machines.length] as Opened;
  }
}

describe("history", () => {
  test("the index changes nothing: histories, pages, blame and logs of random histories", async () => {
    let skipped = 0;
    let faults = 0;
    const scenario = fc.record({
      steps: fc.array(step, { minLength: 40, maxLength: 120 }),
      most: fc.integer({ min: 2, max: 6 }),
      faulty: fc.integer({ min: 0, max: 3 }).map((n) => n > 0),
      limit: fc.integer({ min: 1, max: 4 }),
    });
    await holds(
      "history over the index",
      fc.asyncProperty(scenario, async ({ steps, most, faulty, limit }) => {
        const machines = await Promise.all([machine(1), machine(2)]);
        const sources = await Promise.all(machines.map(({ storage }) => sourceOf(storage)));
        const segments = machines.map(
          () => new FaultySegments((n) => (faulty && n % 3 === 0 ? (n % 2 === 0 ? "lost" : "damaged") : null)),
        );
        const timelines = sources.map((source, i) => new Timeline(source, segments[i] as FaultySegments, most));
        const party = new Party(machines, timelines);
        for (const one of steps) await party.step(one);
        for (const [i, { engine }] of machines.entries()) {
          const [source, timeline] = [sources[i] as Source, timelines[i] as Timeline];
          for (const { head } of engine.liveBranches()) {
            for (const key of KEYS) {
              const whole = await wholeHistory(source, key, head);
              const found = await all(timeline.history(key, head));
              expect(found).toEqual(whole);
              expect(await paged(timeline, key, head, limit)).toEqual(whole);
              // A place that is not remembered is found again.
              const after = whole[0]?.commit;
              const behind = await timeline.historyPage(key, { from: [head], asked: "new", after, limit: 1000 });
              expect(behind.items).toEqual(whole.slice(after === undefined ? 0 : 1));
            }
            const there = await (await engine.view(head)).list("kv", { limit: 100 });
            const keys = there.map(({ key }) => key);
            const from = { commits: [head], head: await source.at(head) };
            expect(await timeline.blame(head, keys)).toEqual(await lastChanges(source, from, "kv", keys));
            const log = await wholeLog(source, head);
            expect((await all(timeline.log(head))).map(({ hash }) => hash)).toEqual(log.map(({ hash }) => hash));
            for (const { hash } of log) if ((timeline.index.segment(hash)?.commits ?? 0) > 1) skipped++;
          }
          faults += (segments[i] as FaultySegments).faults;
          await timeline.index.close();
          await engine.close();
        }
      }),
      20,
    );
    expect(skipped).toBeGreaterThan(20);
    expect(faults).toBeGreaterThan(0);
  }, 120_000);

  test("blame names the commit that gave each key what it has: a model of writes, forks and rewinds", async () => {
    const { engine, clock } = await openEngine();
    type Blamed = Map<string, { value: string; by: string }>;
    const states = new Map<string, Blamed>();
    let now: Blamed = new Map();
    const past: string[] = [];
    for (let n = 0; n < 900; n++) {
      clock.tick(n % 3);
      if (n % 97 === 96) {
        const to = past[(n * 31) % past.length] as string;
        const { state } = await engine.rewind(MAIN, to as Hash);
        const then = states.get(to) as Blamed;
        const next: Blamed = new Map();
        for (const [key, { value }] of then) {
          const same = now.get(key);
          next.set(key, same?.value === value ? same : { value, by: state });
        }
        now = next;
        past.push(state);
        states.set(state, now);
        continue;
      }
      // Some keys are written once, long ago.
      const key = n % 5 === 2 ? `/once/${n}` : `/k/${(n * 7) % 23}`;
      const value = n % 11 === 0 ? null : `value ${n}`;
      const before = engine.branch(MAIN).head;
      const state = await put(engine, { [key]: value });
      if (state === before) continue;
      now = new Map(now);
      if (value === null) now.delete(key);
      else now.set(key, { value, by: state });
      past.push(state);
      states.set(state, now);
    }
    await engine.timeline.index.settle();
    expect(engine.timeline.index.segment(engine.branch(MAIN).head)).toBeNull();
    for (const state of [past.at(-1), past[700], past[300], past[0]] as Hash[]) {
      const model = states.get(state) as Blamed;
      const found = await engine.timeline.blame(state, [...model.keys()].map(parseKey));
      expect(Object.fromEntries([...found].map(([key, { hash }]) => [key, hash]))).toEqual(
        Object.fromEntries([...model].map(([key, { by }]) => [key, by])),
      );
    }
    await engine.close();
  });

  test("the history of a rare key reads rows and not commits, also behind what is not indexed yet", async () => {
    const { engine, storage } = await openEngine();
    await put(engine, { "/rare": "first" });
    for (let n = 0; n < 3000; n++) await put(engine, { [`/often/${n % 50}`]: `${n}` });
    await put(engine, { "/rare": "second" });
    for (let n = 0; n < 3000; n++) await put(engine, { [`/often/${n % 50}`]: `again ${n}` });
    await engine.timeline.index.settle();
    for (let n = 0; n < 100; n++) await put(engine, { "/often/1": `tail ${n}` });

    let reads = 0;
    const counted = new Proxy(await sourceOf(storage), {
      get: (target, name) => {
        if (name === "commit") {
          return (hash: Hash) => {
            reads++;
            return target.commit(hash);
          };
        }
        return (target[name as keyof StoredSource] as () => unknown).bind(target);
      },
    });
    const rows = new MemorySegments();
    const timeline = new Timeline(counted, rows);
    timeline.index.catchUp("main", engine.branch(MAIN).head);
    await timeline.index.settle();
    reads = 0;
    const found = await all(timeline.history(parseKey("/rare"), engine.branch(MAIN).head));
    expect(found.map(({ event, size }) => [event, size])).toEqual([
      ["kv.batch", 6],
      ["kv.batch", 5],
    ]);
    // The segments with the key, and at most one that is not whole.
    expect(reads).toBeLessThan(4 * 256);
    await timeline.index.close();
    await engine.close();
  });
});

test("commits that were seen when they were stored give the rows that reading them gives, and are not read", async () => {
  const { engine, storage } = await openEngine();
  for (let n = 0; n < 900; n++) await put(engine, { [`/k/${n % 40}`]: `${n}`, ...(n % 3 === 0 && { "/b": `${n}` }) });
  const source = await sourceOf(storage);
  const log = await wholeLog(source, engine.branch(MAIN).head);
  const read: Hash[] = [];
  const counted: Pick<Source, "commit" | "changesOf"> = {
    commit: (hash) => {
      read.push(hash);
      return source.commit(hash);
    },
    changesOf: (commit) => source.changesOf(commit),
  };
  const tops = log.map(({ hash }) => hash);
  const rowsOf = async (seen: boolean): Promise<Map<Hash, Uint8Array>> => {
    const rows = new MemorySegments();
    const index = new HistoryIndex(rows, counted, 64);
    for (const { hash, commit } of log.toReversed()) {
      if (seen) index.stored(hash, commit, await source.changesOf(commit));
    }
    // From two heads: what the second one adds goes on from the first one's rows.
    for (const head of [tops[300], tops[0]]) {
      index.catchUp("main", head as Hash);
      await index.settle();
    }
    await index.close();
    return new Map(tops.flatMap((top) => (rows.get(top) === null ? [] : [[top, rows.get(top) as Uint8Array]])));
  };
  const seen = await rowsOf(true);
  expect(read).toEqual([]);
  const reread = await rowsOf(false);
  expect(read.length).toBeGreaterThan(900);
  expect(seen.size).toBeGreaterThan(900 / 64);
  expect(seen).toEqual(reread);
  await engine.close();
});

describe("the file of the history index", () => {
  const warnings: string[] = [];
  const open = (path: string): SqliteSegments => new SqliteSegments(path, (_, message) => void warnings.push(message));

  test("is made anew when it is damaged, of another version, or gone; history is right meanwhile", async () => {
    const path = join(await newFolder(), "history.db");
    const { engine, storage } = await openEngine();
    for (let n = 0; n < 600; n++) await put(engine, { [`/k/${n % 20}`]: `${n}` });
    const head = engine.branch(MAIN).head;
    const source = await sourceOf(storage);
    const whole = await wholeHistory(source, parseKey("/k/3"), head);
    expect(whole.length).toBe(30);

    const check = async (indexed: boolean): Promise<void> => {
      const timeline = new Timeline(source, open(path));
      expect(await all(timeline.history(parseKey("/k/3"), head))).toEqual(whole);
      expect(timeline.index.segment(head) !== null).toBe(indexed);
      timeline.index.catchUp("main", head);
      await timeline.index.settle();
      expect(timeline.index.segment(head)?.commits).toBe(256);
      expect(await all(timeline.history(parseKey("/k/3"), head))).toEqual(whole);
      await timeline.index.close();
    };
    await check(false);
    await check(true);
    expect(warnings).toEqual([]);
    await writeFile(path, "not a database at all, and long enough to be looked at".repeat(100));
    await check(false);
    expect(warnings.length).toBeGreaterThan(0);
    await rm(path);
    await check(false);
    const { default: Database } = await import("better-sqlite3");
    const other = new Database(path);
    other.exec("DROP TABLE segments; PRAGMA user_version = 9");
    other.close();
    await check(false);
    const rows = new Database(path);
    rows.exec("UPDATE segments SET body = zeroblob(200)");
    rows.close();
    await check(false);
    expect(await readdir(join(path, ".."))).toEqual(["history.db"]);
    await engine.close();
  });

  test("a build that was broken off goes on where it was", async () => {
    const path = join(await newFolder(), "history.db");
    const { engine, storage } = await openEngine();
    for (let n = 0; n < 1200; n++) await put(engine, { [`/k/${n % 20}`]: `${n}` });
    const source = await sourceOf(storage);
    const head = engine.branch(MAIN).head;
    // One row for every four commits: many rows, stored some at a time.
    let left = 2;
    const first = open(path);
    const broken = new Timeline(
      source,
      {
        get: (top) => first.get(top),
        unfinished: () => first.unfinished(),
        close: () => first.close(),
        put: (rows, unfinished) => {
          if (left-- > 0) first.put(rows, unfinished);
          else throw new Error("killed");
        },
      },
      4,
    );
    broken.index.catchUp("main", head);
    await expect(broken.index.settle()).rejects.toThrow("killed");
    await broken.index.close();

    const again = new Timeline(source, open(path), 4);
    again.index.catchUp("main", head);
    await again.index.settle();
    let commits = 0;
    for (let at: Hash | undefined = head; at !== undefined;) {
      const segment = again.index.segment(at);
      expect(segment, at).not.toBeNull();
      commits += segment?.commits ?? 0;
      at = segment?.below[0];
    }
    expect(commits).toBe(1202);
    await again.index.close();
    await engine.close();
  });
});
