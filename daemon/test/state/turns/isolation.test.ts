import fc from "fast-check";
import type { VlinderError } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { BACKENDS, type Place } from "../backends.ts";
import { holds } from "../property.ts";
import { FaultyObjects } from "../storage-faults.ts";
import { type Command, type Ending, type Expect, KEYS, openEngine, Twin } from "./turn-twin.ts";

const DAY = 24 * 3_600_000;

interface Round {
  readonly commands: readonly Command[];
  readonly ending: Ending | null;
  readonly days: number;
  /** With faults: whether the next transaction fails. */
  readonly fails: boolean;
}

const n = fc.nat(1_000_000);
const asks = fc.uniqueArray(
  fc.tuple(
    fc.nat(KEYS.length - 1),
    fc.option(fc.nat(30), { freq: 4 }),
    fc.constantFrom<Expect>(
      "anything",
      "anything",
      "anything",
      "what is there",
      "what is there",
      "nothing",
      "something else",
    ),
  ),
  { minLength: 1, maxLength: 3, selector: ([key]) => key },
);
const is = <T extends string>(what: T) => fc.constant(what);
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: is("begin"), branch: n }) },
  { weight: 9, arbitrary: fc.record({ do: is("write"), turn: n, asks, upload: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: is("burst"), turn: n, puts: fc.integer({ min: 2, max: 90 }), from: n }) },
  { weight: 5, arbitrary: fc.record({ do: is("read"), turn: n, key: n }) },
  { weight: 2, arbitrary: fc.record({ do: is("list"), turn: n, limit: fc.integer({ min: 1, max: 8 }) }) },
  { weight: 3, arbitrary: fc.record({ do: is("flush"), turn: n }) },
  { weight: 5, arbitrary: fc.record({ do: is("direct"), branch: n, asks }) },
  { weight: 1, arbitrary: fc.record({ do: is("collect") }) },
);
const ending: fc.Arbitrary<Ending> = fc.record({
  how: fc.constantFrom("complete", "complete", "complete", "complete", "fail", "both", "rewind", "fork"),
  turn: n,
});
const rounds = (most: number): fc.Arbitrary<readonly Round[]> =>
  fc.array(
    fc.record({
      commands: fc.array(command, { maxLength: most }),
      ending: fc.option(ending, { freq: 2 }),
      days: fc.constantFrom(0, 0, 0, 0, 1, 3),
      fails: fc.boolean(),
    }),
    { minLength: 3, maxLength: 24 },
  );

async function run(place: Place, all: readonly Round[]): Promise<void> {
  const { engine, clock } = await openEngine(place.open());
  const twin = new Twin(engine, clock);
  for (const { commands, ending: last, days } of all) {
    clock.tick(days * DAY + 1);
    await Promise.all(commands.map((command) => twin.send(command)));
    await twin.check();
    if (last === null) continue;
    clock.tick();
    const open = [...twin.turns.keys()];
    // What is stored in the background is on its way when the turn ends.
    await Promise.all([
      ...open.map((id) =>
        engine.turns
          .find(id)
          ?.storing.flush()
          .catch(() => {}),
      ),
      twin.end(last),
    ]);
    await twin.check();
  }
  while (twin.turns.size > 0) await twin.end({ how: twin.turns.size % 2 === 0 ? "fail" : "complete", turn: 0 });
  await twin.check();
  await twin.checkEnd(engine);
  await engine.close();
  const storage = place.open();
  expect(await (await storage).notes("turn/")).toEqual([]);
  const again = await openEngine(storage, clock);
  await twin.checkEnd(again.engine);
  await again.engine.close();
}

/** One request at a time, before some of which the storage fails. */
async function runWithFaults(all: readonly Round[]): Promise<number> {
  const storage = new FaultyObjects();
  const { engine, clock } = await openEngine(Promise.resolve(storage));
  const twin = new Twin(engine, clock);
  const attempt = async (work: () => Promise<void>, fails: boolean): Promise<void> => {
    const fired = storage.fired;
    storage.fails = () => fails;
    try {
      await work();
      expect(storage.fired).toBe(fired);
    } catch (error) {
      if ((error as VlinderError).code !== "unavailable") throw error;
      expect(storage.fired).toBeGreaterThan(fired);
    } finally {
      storage.fails = () => false;
    }
    await twin.check();
  };
  for (const { commands, ending: last, fails } of all) {
    for (const [i, command] of commands.entries()) {
      clock.tick();
      // An upload is stored before the turn has it, and a collection is tested by itself.
      if (command.do === "collect") continue;
      await attempt(
        () => twin.send(command.do === "write" ? { ...command, upload: false } : command),
        fails && i % 2 === 0,
      );
    }
    clock.tick();
    if (last !== null) await attempt(() => twin.end(last), fails);
  }
  while (twin.turns.size > 0) await twin.end({ how: "complete", turn: 0 });
  await twin.check();
  expect(await storage.notes("turn/")).toEqual([]);
  await twin.checkEnd(engine);
  await engine.close();
  return storage.fired;
}

describe.each([
  ["memory", 30],
  ["sqlite", 3],
] as const)("turns of several clients against a model, on %s", (backend, runs) => {
  test("each is alone until it is completed, and all of it is there then or none", { timeout: 120_000 }, async () => {
    const property = fc.asyncProperty(rounds(8), async (all) => {
      const place = await (BACKENDS[backend] as () => Promise<Place>)();
      try {
        await run(place, all);
      } finally {
        await place.dispose();
      }
    });
    await holds(`isolation on ${backend}`, property, runs);
  });
});

test(
  "a storage that fails at any step of a turn loses nothing, and shows no half of it",
  { timeout: 120_000 },
  async () => {
    let fired = 0;
    const property = fc.asyncProperty(rounds(5), async (all) => {
      fired += await runWithFaults(all);
    });
    await holds("isolation with faults", property, 40);
    expect(fired).toBeGreaterThan(0);
  },
);
