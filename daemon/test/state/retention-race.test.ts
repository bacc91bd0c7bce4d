import { setImmediate as nextTurn } from "node:timers/promises";
import { type BranchName, type Hash, MAIN, sha256 } from "@vlinder/protocol";
import { expect, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import { contract } from "./harness.ts";
import { machine, objectsFor } from "./machines.ts";
import { noise } from "./property.ts";
import { IS_LONG } from "../../../test/harness/long.ts";
import { codeOf, DAY, newHome, openHome, put, stateAt, StepObjects } from "./retention-harness.ts";

const ROUNDS = IS_LONG ? 25 : 10;

const VALUES = Array.from({ length: 12 }, (_, i) => (i % 4 === 0 ? noise(i, 90_000) : Buffer.from(`value ${i}`)));

/** A history of which all but the end is about to be dropped, with values that nothing else has. */
async function aged(): Promise<{ engine: StateEngine; old: Hash[] }> {
  const home = newHome();
  const engine = await openHome(home, { states: "1d" });
  const old: Hash[] = [];
  for (const [i, value] of VALUES.entries()) old.push(await put(engine, `/k${i % 5}`, value));
  for (let i = 0; i < 5; i++) await put(engine, `/k${i}`, null);
  for (let i = 0; i < 70; i++) await put(engine, `/many/${i}`, `${i}`);
  for (let i = 0; i < 70; i++) await put(engine, `/many/${i}`, null);
  home.clock.tick(2 * DAY);
  return { engine, old };
}

/** Every branch reads whole, and verify finds nothing. */
async function expectWhole(engine: StateEngine): Promise<void> {
  expect((await engine.verify()).damage).toEqual([]);
  for (const { head } of engine.liveBranches()) await stateAt(engine, head);
}

test("puts of exactly what is being collected lose nothing, in many rounds", async () => {
  let collected = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const { engine } = await aged();
    let done = false;
    const collecting = engine.retention.collect(true).finally(() => (done = true));
    const put1: [string, Buffer][] = [];
    for (let i = round; !done; i++) {
      const value = VALUES[i % VALUES.length] as Buffer;
      await Promise.all([put(engine, `/again/${i % 7}`, value), put(engine, `/many/${i % 70}`, `${i % 70}`)]);
      put1.push([`/again/${i % 7}`, value]);
    }
    const report = await collecting;
    collected += report.objects;
    expect(put1.length).toBeGreaterThan(2);
    const state = await stateAt(engine, await engine.resolve(MAIN));
    for (const [key, value] of new Map(put1)) expect(state[key]).toBe(sha256(value));
    await expectWhole(engine);
    await engine.retention.collect(true);
    await expectWhole(engine);
    await engine.close();
  }
  expect(collected).toBeGreaterThan(0);
}, 60_000);

test("states that are forked, rewound to or merged meanwhile are kept whole, or refused", async () => {
  const seen = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round++) {
    const { engine, old } = await aged();
    let done = false;
    const collecting = engine.retention.collect(true).finally(() => (done = true));
    for (let i = round; !done; i++) {
      const commit = old[i % old.length] as Hash;
      const name = `fork-${i}` as BranchName;
      const how = i % 3;
      const result = await codeOf(
        how === 0
          ? engine.rewind(MAIN, commit)
          : engine.fork(name, commit).then(() => put(engine, "/on", `${i}`, name)),
      );
      expect(["fine", "pruned"]).toContain(result);
      if (how === 2 && result === "fine") await engine.merge(MAIN, await engine.resolve(name));
      seen.set(result, (seen.get(result) ?? 0) + 1);
    }
    await collecting;
    await expectWhole(engine);
    await engine.retention.collect(true);
    await expectWhole(engine);
    await engine.close();
  }
  expect(seen.get("fine")).toBeGreaterThan(0);
  expect(seen.get("pruned")).toBeGreaterThan(0);
}, 60_000);

test("what another machine sends meanwhile rests on nothing that goes", async () => {
  const seen = new Map<string, number>();
  for (let round = 1; round <= 24; round++) {
    const storage = new StepObjects();
    const home = newHome(storage);
    const known: Hash[] = [];
    const roots = () => ({ heads: async () => known });
    const here = await openHome(home, { states: "1d" }, { roots });
    const other = await machine(2, { ...contract(), retention: { states: "1d" } });
    for (const [i, value] of VALUES.entries()) await put(here, `/k${i}`, value);
    for (const i of VALUES.keys()) await put(here, `/k${i}`, null);
    const base = await put(here, "/base", "1");
    known.push(base);
    await other.engine.receive(await objectsFor(here, [base]));
    await other.engine.integrate(here.branches());
    home.clock.tick(2 * DAY);
    // The other one puts such a value again, and sends only what is new: the commit.
    await put(other.engine, "/again", VALUES[round % 3 === 0 ? 4 : round % 12] as Buffer);
    const head = other.engine.branch(MAIN).head;
    const objects = (await objectsFor(other.engine, [head], [base])).filter(({ kind }) => kind === "commit");
    storage.killAt(Infinity);
    let done = false;
    const collecting = here.retention.collect(true).finally(() => (done = true));
    // At each step of the collection once.
    while (!done && storage.changes < round / 3) await nextTurn();
    const result = await codeOf(here.receive(objects));
    await collecting;
    if (result === "fine") await here.integrate(other.engine.branches());
    expect(["fine", "invalid"]).toContain(result);
    seen.set(result, (seen.get(result) ?? 0) + 1);
    await expectWhole(here);
    await here.close();
    await other.engine.close();
  }
  expect(seen.get("fine")).toBeGreaterThan(1);
  expect(seen.get("invalid")).toBeGreaterThan(1);
}, 60_000);
