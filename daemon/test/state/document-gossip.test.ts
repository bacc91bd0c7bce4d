import fc from "fast-check";
import { type Hash, type Key, keyText, MAIN, parseKey } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { conflictKey } from "../../src/state/conflict-key.ts";
import type { StateEngine } from "../../src/state/engine.ts";
import { contract, type Opened, op } from "./harness.ts";
import { machine, meet, objectsFor, send, settle } from "./machines.ts";
import { holds } from "./property.ts";

const POLICIES = { "/json/": "json", "/lines/": "lines", "/newest/": "newest" } as const;
const LISTS = ["/json/list", "/json/deep"];
const TEXTS = ["/lines/a", "/lines/b"];
const WHOLES = ["/newest/a", "/both/a", "/both/b"];

type Edit =
  | { do: "add" | "append"; at: number; key: number; place: number; tick: number }
  | { do: "remove"; at: number; key: number; place: number; tick: number }
  | { do: "put" | "scribble"; at: number; key: number; place: number; tick: number };
type Step =
  | Edit
  | { do: "send" | "meet"; from: number; to: number }
  | { do: "choose"; from: number; to: number; prefer: "ours" | "theirs" };

const at = fc.nat(2);
const edit = (...kinds: Edit["do"][]): fc.Arbitrary<Edit> =>
  fc.record({
    do: fc.constantFrom(...kinds),
    at,
    key: fc.nat(5),
    place: fc.nat(9),
    tick: fc.constantFrom(0, 0, 1, 1, 1000, -1, -5000),
  }) as fc.Arbitrary<Edit>;
const talk = fc.record({ do: fc.constantFrom("send" as const, "meet" as const), from: at, to: at });
const choose = fc.record({
  do: fc.constant("choose" as const),
  from: at,
  to: at,
  prefer: fc.constantFrom("ours" as const, "theirs" as const),
});
const steps = (...kinds: { weight: number; arbitrary: fc.Arbitrary<Step> }[]): fc.Arbitrary<Step[]> =>
  fc.array(fc.oneof(...kinds), { minLength: 4, maxLength: 36, size: "max" });

/** Machines that edit documents and hear of each other at random. Every item and line is its own. */
class Party {
  readonly machines: readonly Opened[];
  /** By key: what was added, and what somebody removed who knew of it. */
  readonly added = new Map<string, Set<string>>();
  readonly removed = new Set<string>();
  #count = 0;

  constructor(machines: readonly Opened[]) {
    this.machines = machines;
  }

  engine(i: number): StateEngine {
    return (this.machines[i % this.machines.length] as Opened).engine;
  }

  async read(i: number, key: string): Promise<string | null> {
    const entry = await (await this.engine(i).stateOf()).get("kv", parseKey(key));
    if (entry === null) return null;
    return Buffer.from(await this.engine(i).requiredValue(entry.hash, entry.size)).toString();
  }

  async step(step: Step): Promise<void> {
    if ("key" in step) return await this.#edit(step);
    const [from, to] = [step.from % this.machines.length, step.to % this.machines.length];
    if (from === to) return;
    if ("prefer" in step) await this.#choose(this.engine(from), this.engine(to), step.prefer);
    else if (step.do === "send") await send(this.engine(from), this.engine(to));
    else await meet(this.engine(from), this.engine(to));
  }

  async #choose(from: StateEngine, to: StateEngine, prefer: "ours" | "theirs"): Promise<void> {
    const head = from.branch(MAIN).head;
    await to.receive(await objectsFor(from, [head], [to.branch(MAIN).head]));
    await to.merge(MAIN, head, { prefer });
  }

  async #edit({ do: what, at: who, key: k, place, tick }: Edit): Promise<void> {
    const i = who % this.machines.length;
    (this.machines[i] as Opened).clock.tick(tick);
    const id = `item ${this.#count++}`;
    const keys = what === "put" ? WHOLES : what === "append" || what === "scribble" ? TEXTS : LISTS;
    const key = keys[k % keys.length] as string;
    const now = await this.read(i, key);
    const value = this.#next(what, key, now, id, place);
    if (value === null || value === now) return;
    const ops = [op(key, value)];
    await this.engine(i).write({ space: "kv", kind: "kv.put", branch: MAIN, ops });
    if (what === "put") {
      await this.engine(i).write({ space: "vectors", kind: "vector.put", branch: MAIN, ops });
    }
  }

  #next(what: Edit["do"], key: string, now: string | null, id: string, place: number): string | null {
    if (what === "put") return id;
    if (what === "scribble") return (now ?? "").replaceAll(/item \d/g, () => `changed by ${id} `);
    if (what === "append") {
      const lines = (now ?? "").split("\n").slice(0, -1);
      this.#added(key, id);
      return `${lines.toSpliced(place % (lines.length + 1), 0, id).join("\n")}\n`;
    }
    const document = JSON.parse(now ?? '{"list":[],"names":{}}') as { list: string[]; names: Record<string, number> };
    const { list, names } = document;
    if (what === "add") {
      this.#added(key, id);
      if (place % 2 === 0) list.splice(place % (list.length + 1), 0, id);
      else names[id] = place;
    } else {
      const all = [...list, ...Object.keys(names)];
      const gone = all[place % Math.max(1, all.length)];
      if (gone === undefined) return null;
      this.removed.add(`${key} ${gone}`);
      document.list = list.filter((item) => item !== gone);
      delete names[gone];
    }
    return JSON.stringify(document, null, place % 3);
  }

  #added(key: string, id: string): void {
    this.added.set(key, (this.added.get(key) ?? new Set()).add(id));
  }

  async settle(): Promise<void> {
    await settle(this.machines.map(({ engine }) => engine));
    for (const { engine } of this.machines) expect((await engine.verify()).damage).toEqual([]);
  }
}

async function open(count: number): Promise<Party> {
  return new Party(await Promise.all(Array.from({ length: count }, (_, i) => machine(i + 1, contract(POLICIES)))));
}

/** Every value that any commit put under a key, by its text. */
async function everWritten(engine: StateEngine): Promise<Set<Hash>> {
  const values = new Set<Hash>();
  for await (const { commit } of engine.log(engine.branch(MAIN).head)) {
    const { kv = [] } = await engine.changesOf(commit);
    for (const [, hash] of kv) if (hash !== null) values.add(hash);
  }
  return values;
}

describe("machines that edit documents apart from each other", () => {
  for (const count of [2, 3]) {
    test(`${count} of them end on one commit, with every item and every line once`, { timeout: 120_000 }, async () => {
      const all = steps(
        { weight: 5, arbitrary: edit("add", "add", "remove", "append", "append", "put") },
        { weight: 2, arbitrary: talk },
      );
      const property = fc.asyncProperty(all, async (list) => {
        const party = await open(count);
        for (const step of list) await party.step(step);
        await party.settle();
        const state = await party.engine(0).stateOf();
        for (const [key, items] of party.added) {
          const text = (await party.read(0, key)) as string;
          const there = key.startsWith("/lines/")
            ? text.split("\n").slice(0, -1)
            : Object.values(JSON.parse(text) as object).flatMap((part: object) =>
                Array.isArray(part) ? (part as string[]) : Object.keys(part),
              );
          const stay = [...items].filter((item) => !party.removed.has(`${key} ${item}`));
          expect(
            there.toSorted((a, b) => (a < b ? -1 : 1)),
            key,
          ).toEqual(stay.sort());
        }
        // Nothing of this had to be put beside but what is put whole.
        for (const { key } of await state.list("kv", { limit: 1000 })) {
          if (key.includes(".conflict-")) expect(key.startsWith("/both/"), keyText(key)).toBe(true);
        }
      });
      await holds(`document gossip of ${count}`, property, 60);
    });
  }

  describe("found at random: three merges that cross", () => {
    async function lines(): Promise<string[]> {
      const append = (at: number, place: number): Step => ({ do: "append", at, key: 0, place, tick: 0 });
      const add = (at: number): Step => ({ do: "add", at, key: 0, place: 0, tick: 0 });
      const [meeting, sending]: Step[] = [
        { do: "meet", from: 2, to: 1 },
        { do: "send", from: 0, to: 2 },
      ];
      const first = [append(1, 0), meeting as Step, append(1, 1), add(1)];
      const party = await open(3);
      for (const step of [...first, append(0, 0), append(2, 0), sending as Step, add(0), add(0), add(0)]) {
        await party.step(step);
      }
      await party.settle();
      return ((await party.read(0, "/lines/a")) as string).split("\n").slice(0, -1).sort();
    }
    const wanted = ["item 0", "item 1", "item 3", "item 4"];

    test("give each line once", async () => expect(await lines()).toEqual(wanted));
  });

  test(
    "with changed lines, and people who choose sides, they end on one commit, and nothing is lost",
    { timeout: 120_000 },
    async () => {
      const all = steps(
        { weight: 5, arbitrary: edit("add", "remove", "append", "append", "scribble", "put") },
        { weight: 2, arbitrary: talk },
        { weight: 1, arbitrary: choose },
      );
      const property = fc.asyncProperty(all, async (list) => {
        const party = await open(3);
        const written = new Set<Hash>();
        for (const step of list) {
          await party.step(step);
          for (const { engine } of party.machines) for (const hash of await everWritten(engine)) written.add(hash);
        }
        await party.settle();
        const history = await everWritten(party.engine(0));
        for (const hash of written) expect(history).toContain(hash);
      });
      await holds("document gossip with choices", property, 40);
    },
  );

  test("either side computes the same merge", { timeout: 120_000 }, async () => {
    const all = steps({ weight: 1, arbitrary: edit("add", "remove", "append", "scribble", "put") });
    const property = fc.asyncProperty(all, async (list) => {
      const party = await open(2);
      for (const step of list) await party.step(step);
      const [a, b] = [party.engine(0), party.engine(1)];
      const [headA, headB] = [a.branch(MAIN).head, b.branch(MAIN).head];
      await a.receive(await objectsFor(b, [headB], [headA]));
      await b.receive(await objectsFor(a, [headA], [headB]));
      const [there, here] = [await b.merge(MAIN, headA), await a.merge(MAIN, headB)];
      if (here.kind !== "merge" || there.kind !== "merge") return;
      expect(here.state).toBe(there.state);
      expect(here.conflicts).toEqual(there.conflicts);
      const state = await a.stateOf();
      for (const { space, key, kept, loser, policy } of here.conflicts) {
        const copy = kept === null ? null : ((await state.get(space, kept))?.hash ?? null);
        expect(copy).toBe(policy === "keep-both" ? loser : null);
        if (policy === "keep-both") expect(kept).toBe(conflictKey(key as Key, loser));
      }
    });
    await holds("symmetry", property, 100);
  });
});
