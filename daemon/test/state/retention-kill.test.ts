import { type Hash, MAIN, parseKey } from "@vlinder/protocol";
import { expect, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import { MemoryShelf, type QuarantineShelf } from "../../src/storage/quarantine-shelf.ts";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";
import { noise } from "./property.ts";
import { codeOf, DAY, type Home, newHome, openHome, put, stateAt, StepObjects } from "./retention-harness.ts";

/** One counter of changes for an agent's storage and its quarantines: a kill may come at any of them. */
class KilledShelf implements QuarantineShelf {
  readonly #inner = new MemoryShelf();
  readonly #main: StepObjects;

  constructor(main: StepObjects) {
    this.#main = main;
  }

  list(): Promise<string[]> {
    return this.#inner.list();
  }

  async open(name: string): Promise<ObjectStorage> {
    const storage = await this.#inner.open(name);
    const counted = new Set(["apply", "remove"]);
    return new Proxy(storage, {
      get: (target, property) => {
        const member = Reflect.get(target, property) as unknown;
        if (typeof member !== "function") return member;
        return async (...args: unknown[]): Promise<unknown> => {
          // Nothing in it, and yet a change: the main storage's kill counts it.
          if (counted.has(String(property))) await this.#main.apply({ objects: [], branches: [], replies: [] });
          return (await Reflect.apply(member, target, args)) as unknown;
        };
      },
    });
  }

  async delete(name: string): Promise<void> {
    await this.#main.apply({ objects: [], branches: [], replies: [] });
    return this.#inner.delete(name);
  }
}

interface Made extends Home {
  readonly storage: StepObjects;
  readonly states: Map<Hash, Record<string, string>>;
  readonly head: Hash;
}

async function made(): Promise<Made> {
  const storage = new StepObjects();
  const home = { ...newHome(storage), storage, shelf: new KilledShelf(storage) };
  const engine = await openHome(home, { states: "1d" });
  const states = new Map<Hash, Record<string, string>>();
  const see = async (hash: Hash): Promise<void> => void states.set(hash, await stateAt(engine, hash));
  await see(await put(engine, "/secret/a", "the secret, in a few bytes"));
  await see(await put(engine, "/secret/b", noise(7, 100_000)));
  for (let i = 0; i < 10; i++) await see(await put(engine, `/k${i % 3}`, `${i}`));
  await put(engine, "/secret/a", null);
  await put(engine, "/k0", null);
  home.clock.tick(2 * DAY);
  const head = await put(engine, "/last", "1");
  await see(head);
  await engine.close();
  return { ...home, states, head };
}

/** Runs `work` killed at each of its changes in turn, then opens what is left and checks it. */
async function killedAtEach(
  prepare: (engine: StateEngine) => Promise<unknown>,
  work: (engine: StateEngine) => Promise<unknown>,
  check: (engine: StateEngine, home: Made, finished: boolean) => Promise<void>,
): Promise<number> {
  for (let at = 1; ; at++) {
    const home = await made();
    const before = await openHome(home);
    await prepare(before);
    home.storage.killAt(at);
    const result = await codeOf(work(before));
    const finished = !home.storage.killed;
    expect(result === "fine").toBe(finished);
    await before.close();
    home.storage.killAt(Infinity);
    const after = await openHome(home);
    await check(after, home, finished);
    await after.close();
    if (finished) return at - 1;
  }
}

/** What is there reads as it was, or is pruned; the head reads always. */
async function expectSound(engine: StateEngine, { states, head }: Made): Promise<number> {
  expect((await engine.verify()).damage).toEqual([]);
  let pruned = 0;
  for (const [hash, state] of states) {
    const found = await stateAt(engine, hash).catch((error: unknown) => (error as { code: string }).code);
    if (found === "pruned") pruned++;
    else expect(found).toEqual(state);
    if (hash === head) expect(found).toEqual(state);
  }
  return pruned;
}

test("a collection killed at any step loses nothing, can be undone, and is finished by the next", async () => {
  const steps = await killedAtEach(
    async () => {},
    (engine) => engine.retention.collect(true),
    async (engine, home) => {
      const pruned = await expectSound(engine, home);
      if (pruned > 0) {
        await engine.retention.undo();
        expect(await expectSound(engine, home)).toBe(0);
      }
      await engine.retention.collect(true);
      expect(await expectSound(engine, home)).toBe(home.states.size - 1);
      expect(await engine.retention.collect(false)).toMatchObject({ objects: 0 });
    },
  );
  expect(steps).toBeGreaterThan(8);
}, 60_000);

test("an undo killed at any step can be done again", async () => {
  const steps = await killedAtEach(
    (engine) => engine.retention.collect(true),
    (engine) => engine.retention.undo(),
    async (engine, home, finished) => {
      const pruned = await expectSound(engine, home);
      if (finished) expect(pruned).toBe(0);
      await codeOf(engine.retention.undo());
      expect(await expectSound(engine, home)).toBe(0);
    },
  );
  expect(steps).toBeGreaterThan(4);
}, 60_000);

test("a forget killed at any step is finished at the next start, or was never made", async () => {
  let carriedOn = 0;
  const steps = await killedAtEach(
    (engine) => engine.retention.collect(true),
    (engine) => engine.retention.forget({ key: parseKey("/secret/"), isPrefix: true }, true),
    async (engine, home, finished) => {
      await engine.retention.settle();
      const { event } = await engine.commit(await engine.resolve(MAIN));
      const wasMade = event.kind === "erase";
      if (wasMade && !finished) carriedOn++;
      const shelves = [
        home.storage,
        ...(await Promise.all((await home.shelf.list()).map((name) => home.shelf.open(name)))),
      ];
      const secret = [Buffer.from("the secret, in a few bytes"), noise(7, 100_000).subarray(0, 4096)];
      let found = 0;
      for (const storage of shelves) {
        for (const kind of ["value", "chunk"] as const) {
          for (const { bytes } of await storage.scan(kind, null, 1000)) {
            if (secret.some((one) => Buffer.from(bytes).includes(one))) found++;
          }
        }
      }
      if (wasMade) expect(found).toBe(0);
      else expect(found).toBeGreaterThan(1);
      expect((await engine.verify()).damage).toEqual([]);
      expect((await stateAt(engine, home.head))["/secret/b"]).toEqual(
        wasMade ? "erased" : expect.stringMatching(/^[0-9a-f]{64}$/),
      );
    },
  );
  expect(steps).toBeGreaterThan(4);
  expect(carriedOn).toBeGreaterThan(3);
}, 60_000);
