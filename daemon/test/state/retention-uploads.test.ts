import { setImmediate as nextTurn } from "node:timers/promises";
import { type Hash, MAIN, sha256 } from "@vlinder/protocol";
import { expect, onTestFinished, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import { key } from "./harness.ts";
import { noise } from "./property.ts";
import { codeOf, newHome, openHome, put, stateAt, StepObjects } from "./retention-harness.ts";

const LARGE = noise(7, 700_000);

async function opened(): Promise<{ engine: StateEngine; storage: StepObjects }> {
  const storage = new StepObjects();
  const engine = await openHome(newHome(storage));
  onTestFinished(() => engine.close());
  return { engine, storage };
}

const putUpload = (engine: StateEngine, name: string, upload: string) =>
  engine.write({ space: "kv", kind: "kv.put", branch: MAIN, ops: [{ key: key(name), value: { upload } }] });

test("what uploads hold stays, also what comes while a collection runs; what was dropped goes", async () => {
  const { engine, storage } = await opened();
  const half = LARGE.subarray(0, 400_000);
  await engine.uploads.put("u", { offset: 0, bytes: half });
  await engine.uploads.put("dropped", { offset: 0, bytes: noise(8, 300_000), last: true });
  engine.uploads.drop("dropped");
  const collecting = engine.retention.collect(true);
  await engine.uploads.put("u", { offset: half.length, bytes: LARGE.subarray(half.length), last: true });
  expect((await collecting).objects).toBeGreaterThan(0);
  const { state } = await putUpload(engine, "/big", "u");
  expect(await stateAt(engine, state)).toEqual({ "/big": sha256(LARGE) });
  expect((await engine.verify()).damage).toEqual([]);
  expect(await storage.read("list", [sha256(noise(8, 300_000))])).toEqual([null]);
});

test("an upload of what is forgotten has to begin again, and then brings it back", async () => {
  const { engine, storage } = await opened();
  await put(engine, "/secret", LARGE);
  await engine.uploads.put("u", { offset: 0, bytes: LARGE, last: true });
  await engine.uploads.put("other", { offset: 0, bytes: noise(9, 300_000), last: true });
  const report = await engine.retention.forget({ key: key("/secret"), isPrefix: false }, true);
  expect(report.values).toBe(1);
  expect(await storage.read("list", [sha256(LARGE)])).toEqual([null]);
  expect(await codeOf(putUpload(engine, "/again", "u"))).toBe("not_found");
  await putUpload(engine, "/other", "other");
  await engine.uploads.put("u", { offset: 0, bytes: LARGE, last: true });
  const { state } = await putUpload(engine, "/again", "u");
  expect(await stateAt(engine, state)).toEqual({
    "/again": sha256(LARGE),
    "/other": sha256(noise(9, 300_000)),
    "/secret": sha256(LARGE),
  } satisfies Record<string, Hash>);
  expect((await engine.verify()).damage).toEqual([]);
});

test("a put of an upload beside a forget of the same bytes is refused, or has them", async () => {
  for (let round = 0; round < 25; round++) {
    const { engine } = await opened();
    await put(engine, "/secret", LARGE);
    await engine.uploads.put("u", { offset: 0, bytes: LARGE, last: true });
    const forgetting = engine.retention.forget({ key: key("/secret"), isPrefix: false }, true);
    for (let turns = 2 * round; turns > 0; turns--) await nextTurn();
    const code = await codeOf(putUpload(engine, "/again", "u"));
    await forgetting;
    if (code === "fine")
      expect(await stateAt(engine, engine.branch(MAIN).head)).toMatchObject({ "/again": sha256(LARGE) });
    else expect(code).toBe("not_found");
  }
});
