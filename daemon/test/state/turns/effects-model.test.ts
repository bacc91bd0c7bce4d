import { type Hash, MAIN } from "@vlinder/protocol";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { StateEngine } from "../../../src/state/engine.ts";
import { MemoryObjects } from "../../../src/storage/backends/memory.ts";
import { openEngine } from "../harness.ts";
import { rounds } from "../../../../test/harness/long.ts";

/** A storage as one process has it: what that still wants to write after its end comes to nothing. */
class Handle {
  readonly storage: MemoryObjects;
  #isDead = false;

  constructor(storage: MemoryObjects) {
    this.storage = new Proxy(storage, {
      get: (target, name) => {
        if (this.#isDead && name === "apply") return () => new Promise(() => {});
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }

  kill(): void {
    this.#isDead = true;
  }
}

/** What the outside world has seen, and what a person who looks there would say. */
class World {
  readonly engine: StateEngine;
  readonly storage: MemoryObjects;
  readonly handle: Handle;
  /** How often each effect of a line of turns really happened. */
  readonly happened = new Map<string, number>();
  readonly under: { turn: string; key: string; begun: Hash; line: number }[] = [];
  turns: { turn: string; line: number; open: boolean }[] = [];
  /** Lines of turns that do one another again, so far. */
  lines = 0;

  private constructor(engine: StateEngine, storage: MemoryObjects, handle: Handle) {
    this.engine = engine;
    this.storage = storage;
    this.handle = handle;
  }

  static async open(storage: MemoryObjects): Promise<World> {
    const handle = new Handle(storage);
    return new World((await openEngine({ storage: handle.storage })).engine, storage, handle);
  }
}

const KEYS = ["mail", "pay"];

/** Weighed so that most turns retry one of a few others, and are cut off in the middle. */
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant("begin" as const), retry: fc.nat(9) }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("effect" as const), turn: fc.nat(5), key: fc.constantFrom(...KEYS) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("finish" as const),
      which: fc.nat(5),
      how: fc.constantFrom("done", "failed", "silent"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("end" as const), turn: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("resolve" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("crash" as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function perform(world: World, one: Step): Promise<World> {
  const { engine, storage, happened } = world;
  const open = world.turns.filter((turn) => turn.open);
  const name = (line: number, key: string): string => `${line} ${key}`;
  switch (one.do) {
    case "begin": {
      const ended = world.turns.filter((turn) => !turn.open);
      const retried = one.retry === 9 ? undefined : ended.at(-1 - (one.retry % Math.max(1, ended.length)));
      const request = { branch: MAIN, ...(retried && { retries: retried.turn }) };
      const { turn } = await engine.turns.begin(request, undefined, true);
      world.turns.push({ turn, line: retried?.line ?? world.lines++, open: true });
      return world;
    }
    case "effect": {
      const in_ = open[one.turn % Math.max(1, open.length)];
      if (in_ === undefined) return world;
      const { line, turn } = in_;
      const times = happened.get(name(line, one.key)) ?? 0;
      const running = world.under.some((other) => other.line === line && other.key === one.key);
      const asked = engine.turns.effects.begin(turn, one.key);
      const reply = await asked.catch((error: { code: string }) => error.code);
      if (typeof reply === "string") {
        expect([reply, running]).toEqual(["conflict", true]);
      } else if (reply.status === "run") {
        // The one thing that matters.
        expect([times, running]).toEqual([0, false]);
        world.under.push({ turn, key: one.key, begun: reply.begun, line });
      } else if (reply.status === "done") {
        expect([times, Buffer.from(reply.result ?? []).toString()]).toEqual([1, `"${one.key}"`]);
      }
      return world;
    }
    case "finish": {
      const [under] = world.under.splice(one.which % Math.max(1, world.under.length), 1);
      if (under === undefined) return world;
      const { key, line, begun } = under;
      if (one.how !== "failed") happened.set(name(line, key), (happened.get(name(line, key)) ?? 0) + 1);
      const result = { bytes: Buffer.from(`"${key}"`), form: "json" as const };
      // Its process dies between the two, and its turn with it.
      if (one.how === "silent") await endTurn(world, under.turn);
      else if (one.how === "done") await engine.turns.effects.end(begun, { status: "done", result });
      else await engine.turns.effects.end(begun, { status: "failed", error: "x" });
      return world;
    }
    case "end": {
      const in_ = open[one.turn % Math.max(1, open.length)];
      if (in_ === undefined || world.under.some(({ turn }) => turn === in_.turn)) return world;
      await engine.turns.complete(in_.turn, null);
      in_.open = false;
      return world;
    }
    case "resolve": {
      for (const { effect, key, status, turns } of await engine.turns.effects.list()) {
        if (status !== "unknown") continue;
        const line = world.turns.find(({ turn }) => turns.includes(turn))?.line as number;
        const is = (happened.get(name(line, key)) ?? 0) > 0;
        const result = { bytes: Buffer.from(`"${key}"`), form: "json" as const };
        await engine.turns.effects.resolve(effect, is ? { status: "done", result } : { status: "not_done" });
      }
      return world;
    }
    case "crash": {
      // Nothing is closed, and who had begun an effect is gone too: half of them had done it.
      world.handle.kill();
      const next = await World.open(storage);
      await next.engine.turns.restored();
      for (const [i, { line, key }] of world.under.entries()) {
        if (i % 2 === 0) happened.set(name(line, key), (happened.get(name(line, key)) ?? 0) + 1);
      }
      for (const [what, times] of happened) next.happened.set(what, times);
      next.lines = world.lines;
      next.turns = world.turns.map((turn) => ({ ...turn, open: false }));
      return next;
    }
  }
}

async function endTurn(world: World, turn: string): Promise<void> {
  for (const one of world.turns) if (one.turn === turn) one.open = false;
  // Other effects that it had under way are left by it as well, and had not happened yet.
  for (let i = world.under.length - 1; i >= 0; i--) if (world.under[i]?.turn === turn) world.under.splice(i, 1);
  await world.engine.turns.fail(turn, "its process died");
}

test("whatever crashes when, nothing happens twice in turns that do one another again", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
      let world = await World.open(new MemoryObjects("memory://model"));
      await world.engine.turns.begin({ branch: MAIN }, undefined, true).then(({ turn }) => {
        world.turns.push({ turn, line: world.lines++, open: true });
      });
      for (const one of steps) world = await perform(world, one);
      expect([...world.happened.values()].filter((times) => times > 1)).toEqual([]);
      expect((await world.engine.verify()).damage).toEqual([]);
      // Engines that crashed share the storage, and are not closed either.
    }),
    { numRuns: rounds(200) },
  );
}, 120_000);
