import { MAIN, parseKey } from "@vlinder/protocol";
import { expect, onTestFinished, test } from "vitest";
import { DAY, newHome, openHome, put } from "../retention-harness.ts";
import type { StateEngine } from "../../../src/state/engine.ts";
import { machine, send } from "../machines.ts";

const RESULT = '{"to":"ann@example.org","id":"m-4711"}';

/** A turn that mailed, and completed. */
async function mailed(engine: StateEngine): Promise<string> {
  const { turn } = await engine.turns.begin({ branch: MAIN });
  const begun = await engine.turns.effects.begin(turn, "mail");
  if (begun.status !== "run") throw new Error("not run");
  const result = { bytes: Buffer.from(RESULT), form: "json" } as const;
  await engine.turns.effects.end(begun.begun, { status: "done", result });
  await engine.turns.complete(turn, null);
  return turn;
}

async function again(engine: StateEngine, turn: string) {
  const retry = await engine.turns.begin({ branch: MAIN, retries: turn });
  return await engine.turns.effects.begin(retry.turn, "mail");
}

test("a result outlives the state that it was recorded in: what was done once is not done again, however late", async () => {
  const home = newHome();
  const engine = await openHome(home, { states: "7d", turns: "7d" });
  onTestFinished(() => engine.close());
  const turn = await mailed(engine);
  await put(engine, "/later", "x");
  home.clock.tick(30 * DAY);
  await put(engine, "/now", "y");
  const { commits } = await engine.retention.collect(true);
  expect(commits.dropped).toBeGreaterThan(2);
  const [item] = await engine.turns.effects.list();
  await expect(engine.view(item?.said?.commit as never)).rejects.toMatchObject({ code: "pruned" });
  const reply = await again(engine, turn);
  expect(reply).toMatchObject({ status: "done", form: "json" });
  expect("result" in reply && Buffer.from(reply.result ?? []).toString()).toBe(RESULT);
  expect((await engine.verify()).damage).toEqual([]);
});

test("a result that holds what is forgotten is erased with it, and the effect is not run again", async () => {
  const engine = await openHome(newHome(), {});
  onTestFinished(() => engine.close());
  const turn = await mailed(engine);
  await put(engine, "/people/ann", "ann@example.org,");
  await put(engine, "/people/ann", RESULT);
  await engine.retention.forget({ key: parseKey("/people/ann"), isPrefix: false }, true);
  await expect(again(engine, turn)).rejects.toMatchObject({ code: "erased" });
  expect((await engine.turns.effects.list())[0]).toMatchObject({ status: "done" });
  expect((await engine.verify()).damage).toEqual([]);
});

test("travels to another machine, a person's word as well", async () => {
  const [{ engine: here }, { engine: there }] = [await machine(1), await machine(2)];
  onTestFinished(() => here.close());
  onTestFinished(() => there.close());
  const { turn } = await here.turns.begin({ branch: MAIN });
  await here.turns.effects.begin(turn, "mail");
  await here.turns.fail(turn, "its process died");
  // Asked for before: it is told of what comes.
  expect(await there.turns.effects.list()).toEqual([]);
  await send(here, there);
  const [item] = await there.turns.effects.list();
  expect(item).toMatchObject({ status: "unknown", key: "mail" });
  await there.turns.effects.resolve(item?.effect as string, { status: "not_done" });
  await send(there, here);
  expect((await here.turns.effects.list())[0]).toMatchObject({ status: "not_done", said: { by: "person" } });
  expect(await again(here, turn)).toMatchObject({ status: "run", effect: item?.effect });
});
