import fc from "fast-check";
import { type BranchName, type Hash, type Key, MAIN, type MergePolicy, parseKey, sha256 } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { conflictKey } from "../../src/state/conflict-key.ts";
import type { StateEngine } from "../../src/state/engine.ts";
import type { Space } from "../../src/state/api.ts";
import { contract, type Opened, put } from "./harness.ts";
import { machine, meet, send, settle } from "./machines.ts";
import { holds } from "./property.ts";

const KEYS = ["/a", "/b", "/c", "/d/1", "/d/2", "/é", `/long/${"é".repeat(508)}`].map(parseKey);
const SPACES = ["kv", "kv", "kv", "vectors"] as const;

type Step =
  | { do: "write"; at: number; key: number; space: Space; put: boolean; tick: number }
  | { do: "send" | "meet"; from: number; to: number };

const at = fc.nat(2);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("write" as const),
      at,
      key: fc.nat(KEYS.length - 1),
      space: fc.constantFrom(...SPACES),
      put: fc.constantFrom(true, true, false),
      // Clocks that stand still, go on and go back.
      tick: fc.constantFrom(0, 0, 1, 1, 1000, -1, -5000),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("send" as const, "meet" as const), from: at, to: at }) },
);

/** A write as one machine made it, and the writes to the same key that it knew of. */
interface Write {
  readonly id: number;
  readonly space: Space;
  readonly key: Key;
  readonly value: Hash | null;
  readonly over: ReadonlySet<number>;
}

/** Machines that write and hear of each other at random. Each knows of the writes that its head reaches. */
class Party {
  readonly machines: readonly Opened[];
  readonly writes: Write[] = [];
  readonly #knows: Set<number>[];

  constructor(machines: readonly Opened[]) {
    this.machines = machines;
    this.#knows = machines.map(() => new Set());
  }

  engine(i: number): StateEngine {
    return (this.machines[i % this.machines.length] as Opened).engine;
  }

  async step(step: Step): Promise<void> {
    if (step.do === "write") return await this.#write(step);
    const [from, to] = [step.from % this.machines.length, step.to % this.machines.length];
    if (from === to) return;
    const [a, b] = [this.#knows[from], this.#knows[to]] as [Set<number>, Set<number>];
    if (step.do === "send") {
      await send(this.engine(from), this.engine(to));
      for (const id of a) b.add(id);
    } else {
      await meet(this.engine(from), this.engine(to));
      this.#knows[from] = new Set([...a, ...b]);
      this.#knows[to] = new Set([...a, ...b]);
    }
  }

  async #write({ at, key: k, space, put, tick }: Extract<Step, { do: "write" }>): Promise<void> {
    const i = at % this.machines.length;
    const { engine, clock } = this.machines[i] as Opened;
    clock.tick(tick);
    const key = KEYS[k] as Key;
    const id = this.writes.length;
    const bytes = Buffer.from(`write ${id}`);
    const value = put ? { hash: sha256(bytes), bytes } : null;
    const { applied } = await engine.write({ space, kind: "kv.put", branch: MAIN, ops: [{ key, value }] });
    if (applied[0] !== true) return;
    const known = this.#knows[i] as Set<number>;
    const over = new Set([...known].filter((x) => this.writes[x]?.key === key && this.writes[x]?.space === space));
    this.writes.push({ id, space, key, value: value?.hash ?? null, over });
    known.add(id);
  }

  /** Everyone hears of everyone until nothing moves. */
  async settle(): Promise<void> {
    await settle(this.machines.map(({ engine }) => engine));
  }

  /** Values that nobody overwrote who knew of them. */
  standing(): Write[] {
    return this.writes.filter((write) => write.value !== null && !this.writes.some(({ over }) => over.has(write.id)));
  }
}

async function open(count: number, policies: Record<string, MergePolicy> = {}): Promise<Party> {
  return new Party(await Promise.all(Array.from({ length: count }, (_, i) => machine(i + 1, contract(policies)))));
}

async function checkNothingLost(party: Party): Promise<void> {
  const view = await party.engine(0).stateOf();
  for (const { space, key, value } of party.standing()) {
    const here = (await view.get(space, key))?.hash;
    const beside = (await view.get(space, conflictKey(key, value as Hash)))?.hash;
    expect([here, beside], `the value ${value} of ${key}`).toContain(value);
  }
}

/** Every value that was ever written is in the history that all share. */
async function checkHistory(party: Party): Promise<void> {
  const engine = party.engine(0);
  const values = new Set<Hash | null>();
  for await (const { commit } of engine.log(engine.branch(MAIN).head)) {
    const { kv = [], vectors = [] } = await engine.changesOf(commit);
    for (const [, hash] of [...kv, ...vectors]) values.add(hash);
  }
  for (const { value } of party.writes) if (value !== null) expect(values).toContain(value);
}

async function checkIntact(party: Party): Promise<void> {
  for (const { engine } of party.machines) expect((await engine.verify()).damage).toEqual([]);
}

describe("machines that write and hear of each other at random", () => {
  for (const count of [2, 3]) {
    test(`${count} machines end on the same commit, and no value is lost`, { timeout: 120_000 }, async () => {
      const property = fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 30, size: "max" }), async (steps) => {
        const party = await open(count);
        for (const step of steps) await party.step(step);
        await party.settle();
        await checkNothingLost(party);
        await checkHistory(party);
        await checkIntact(party);
      });
      await holds(`gossip of ${count}`, property, 60);
    });
  }

  test("with newest the older value is in history", async () => {
    const property = fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 24, size: "max" }), async (steps) => {
      const party = await open(3, { "/": "newest", "/d/": "keep-both" });
      for (const step of steps) await party.step(step);
      await party.settle();
      await checkHistory(party);
      const view = await party.engine(0).stateOf();
      for (const { key } of await view.list("kv", { limit: 1000 })) {
        if (key.includes(".conflict-")) expect(key.startsWith("/d/"), key).toBe(true);
      }
    });
    await holds("gossip with newest", property, 40);
  });

  test("with rewinds they still end on the same commit", async () => {
    const moves = fc.array(fc.oneof({ weight: 5, arbitrary: step }, { weight: 1, arbitrary: fc.tuple(at, fc.nat()) }), {
      maxLength: 30,
    });
    const property = fc.asyncProperty(moves, async (steps) => {
      const party = await open(3);
      for (const step of steps) {
        if (!Array.isArray(step)) {
          await party.step(step as Step);
          continue;
        }
        const [at, back] = step as [number, number];
        const engine = party.engine(at);
        const past: Hash[] = [];
        for await (const { hash } of engine.log(engine.branch(MAIN).head)) past.push(hash);
        await engine.rewind(MAIN, past[back % past.length] as Hash);
      }
      await party.settle();
      await checkHistory(party);
      await checkIntact(party);
    });
    await holds("gossip with rewinds", property, 40);
  });

  test("with promotes they still end on the same commit, and keep every main that was replaced", async () => {
    const promotes = fc.record({ do: fc.constant("promote" as const), at, back: fc.nat(), key: fc.nat(6) });
    const moves = fc.array(fc.oneof({ weight: 5, arbitrary: step }, { weight: 2, arbitrary: promotes }), {
      minLength: 8,
      maxLength: 30,
      size: "max",
    });
    let sealed = 0;
    const property = fc.asyncProperty(moves, async (steps) => {
      const party = await open(3);
      const replaced = new Set<Hash>();
      for (const [n, step] of steps.entries()) {
        if (step.do !== "promote") {
          await party.step(step);
          continue;
        }
        const engine = party.engine(step.at);
        const past: Hash[] = [];
        for await (const { hash } of engine.log(engine.branch(MAIN).head)) past.push(hash);
        const name = `f${n}` as BranchName;
        await engine.fork(name, past[step.back % past.length] as Hash);
        await put(engine, { [`/fork/${step.key}`]: `fork ${n}` }, name);
        replaced.add(engine.branch(MAIN).head);
        await engine.promote(name, MAIN);
      }
      await party.settle();
      // Branches travel besides main.
      for (const a of party.machines) for (const b of party.machines) if (a !== b) await send(a.engine, b.engine);
      await checkHistory(party);
      await checkIntact(party);
      for (const { engine } of party.machines) {
        const kept = engine.liveBranches().filter((branch) => branch.sealed);
        expect(new Set(kept.map(({ head }) => head))).toEqual(replaced);
      }
      sealed += replaced.size;
    });
    await holds("gossip with promotes", property, 40);
    expect(sealed).toBeGreaterThan(10);
  });
});
