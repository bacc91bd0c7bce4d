import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { MAIN } from "@vlinder/protocol";
import type { StateEngine } from "../../src/state/engine.ts";
import { forecastOf, UsageHistory } from "../../src/state/retention/usage.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { openObjectStorage } from "../../src/storage/objects.ts";
import { FileShelf } from "../../src/storage/quarantine-shelf.ts";
import { TestClock } from "./harness.ts";
import { noise } from "./property.ts";
import { codeOf, DAY, newHome, openHome, put, stateAt } from "./retention-harness.ts";

const HOUR = 3_600_000;

test("the file really shrinks, and the quarantine is a file that goes as a whole", async () => {
  const folder = await mkdtemp(join(tmpdir(), "vlinder-space-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, "objects.db");
  const open = () => openObjectStorage({ scheme: "sqlite", path, uri: `sqlite://${path}`, durability: "process" });
  const home = { storage: await open(), shelf: new FileShelf(`${path}-quarantine`, "process"), clock: new TestClock() };
  const engine = await openHome(home, { states: "1d" });
  for (let i = 0; i < 300; i++) await put(engine, "/a", noise(i, 30_000));
  home.clock.tick(2 * DAY);
  const last = await put(engine, "/b", "1");
  const before = (await home.storage.usage()).bytes;
  expect(before).toBeGreaterThan(9_000_000);
  const report = await engine.retention.collect(true);
  expect(report.reclaimed).toBeGreaterThan(8_000_000);
  expect((await home.storage.usage()).bytes).toBeLessThan(2_000_000);
  expect((await stat(path)).size).toBeLessThan(2_000_000);
  expect((await engine.verify()).damage).toEqual([]);
  await engine.retention.undo();
  expect((await engine.verify()).damage).toEqual([]);
  expect(await home.shelf.list()).toEqual([]);
  await engine.retention.collect(true);
  await engine.close();

  // What was pruned is known after a restart too.
  const again = await openHome({ ...home, storage: await open() });
  expect((await stateAt(again, last))["/b"]).toHaveLength(64);
  expect((await again.retention.space()).pruned).toBeGreaterThan(290);
  const [name] = await home.shelf.list();
  expect((await stat(join(`${path}-quarantine`, `${name}.db`))).size).toBeGreaterThan(8_000_000);
  home.clock.tick(8 * DAY);
  await again.retention.tidy();
  expect(await home.shelf.list()).toEqual([]);
  await again.close();
}, 60_000);

test("what is on its way to the file counts too: neither puts nor uploads at once go over the limit", async () => {
  const limit = 2_000_000;
  const parts = (engine: StateEngine, upload: string, bytes: Uint8Array): Promise<unknown>[] =>
    [0, 1, 2, 3, 4, 5].map((part) => {
      const [offset, end] = [part * 500_000, (part + 1) * 500_000];
      return engine.uploads.put(upload, { offset, bytes: bytes.subarray(offset, end), last: part === 5 });
    });
  const ways: Record<string, (engine: StateEngine) => Promise<unknown>[]> = {
    puts: (engine) => Array.from({ length: 30 }, (_, i) => put(engine, `/${i}`, noise(i, 500_000))),
    "one upload": (engine) => parts(engine, "u", noise(1, 3_000_000)),
    uploads: (engine) =>
      Array.from({ length: 12 }, (_, i) =>
        engine.uploads.put(`u${i}`, { offset: 0, bytes: noise(i, 500_000), last: true }),
      ),
  };
  for (const [name, way] of Object.entries(ways)) {
    const folder = await mkdtemp(join(tmpdir(), "vlinder-quota-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const path = join(folder, "objects.db");
    const storage = await openObjectStorage({ scheme: "sqlite", path, uri: `sqlite://${path}`, durability: "process" });
    const engine = await openHome({ ...newHome(), storage }, {}, { limit: () => limit });
    const codes = await Promise.all(way(engine).map(codeOf));
    expect(new Set(codes), name).toContain("fine");
    expect(new Set(codes), name).toContain("quota_exceeded");
    expect((await storage.usage()).bytes, name).toBeLessThan(1.1 * limit);
    await engine.close();
  }
}, 30_000);

test("puts over the limit are refused, and nothing else; room that was made counts at once", async () => {
  const home = newHome(new MemoryObjects("memory://quota"));
  const limit = { bytes: 100_000 as number | null };
  const engine = await openHome(home, { states: "1d" }, { limit: () => limit.bytes });
  let refused = "fine";
  let puts = 0;
  for (; refused === "fine" && puts < 50; puts++) refused = await codeOf(put(engine, `/k${puts}`, noise(puts, 5000)));
  expect(refused).toBe("quota_exceeded");
  expect(puts).toBeGreaterThan(15);
  const used = (await home.storage.usage()).bytes;
  expect(used).toBeLessThan(100_000);
  const error = await put(engine, "/more", noise(99, 50_000)).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "quota_exceeded", remedy: /vlinder gc/, details: { limit: 100_000 } });
  expect((await home.storage.usage()).bytes).toBe(used);
  // Many at once go no further than one after the other.
  await Promise.all(Array.from({ length: 50 }, (_, i) => codeOf(put(engine, `/m${i}`, noise(1000 + i, 3000)))));
  expect((await home.storage.usage()).bytes).toBeLessThan(100_000);

  expect(await codeOf(stateAt(engine, await engine.resolve(MAIN)))).toBe("fine");
  for (let i = 0; i < 10; i++) expect(await codeOf(put(engine, `/k${i}`, null))).toBe("fine");
  expect(await codeOf(engine.rewind(MAIN, await engine.resolve(MAIN)))).toBe("fine");
  // A retry of a put that was done gets its reply.
  home.clock.tick(2 * DAY);
  limit.bytes = null;
  await put(engine, "/z", "1");
  limit.bytes = 100_000;
  await engine.retention.collect(true);
  expect(await codeOf(put(engine, "/again", noise(7, 5000)))).toBe("fine");
  await engine.close();
});

test("a forecast goes by what was added of late, whatever was given back", () => {
  const day = (n: number, bytes: number) => ({ time: n * DAY, bytes });
  expect(forecastOf([], 100)).toEqual({ bytesPerDay: null, reached: null });
  expect(
    forecastOf(
      [
        { time: 0, bytes: 1 },
        { time: HOUR / 2, bytes: 9 },
      ],
      100,
    ),
  ).toEqual({ bytesPerDay: null, reached: null });
  expect(forecastOf([day(0, 100), day(10, 200)], 250)).toEqual({
    bytesPerDay: 10,
    reached: new Date(15 * DAY).toISOString(),
  });
  expect(forecastOf([day(0, 100), day(5, 150), day(6, 20), day(10, 70)], null)).toEqual({
    bytesPerDay: 10,
    reached: null,
  });
  // Over it already: now.
  expect(forecastOf([day(0, 100), day(10, 200)], 150).reached).toBe(new Date(10 * DAY).toISOString());
  expect(forecastOf([day(0, 100), day(10, 100)], 150)).toEqual({ bytesPerDay: 0, reached: null });
  // What is older than two weeks says nothing of now.
  expect(forecastOf([day(0, 0), day(90, 1000), day(100, 1100)], null).bytesPerDay).toBe(10);
});

test("samples are kept over a restart, a few a day and a month of them", async () => {
  const storage = new MemoryObjects("memory://usage");
  const history = await UsageHistory.open(storage);
  for (let hour = 0; hour < 60 * 24; hour++) {
    await history.sample({ bytes: 1000 * hour, counts: {} as never }, hour * HOUR);
  }
  const [note] = await storage.notes("usage");
  const samples = JSON.parse(Buffer.from(note?.bytes ?? []).toString()) as unknown[];
  expect(samples).toHaveLength(124);
  const again = await UsageHistory.open(storage);
  const now = { bytes: 1000 * 60 * 24, counts: {} as never };
  expect(again.forecast(now, 60 * DAY, null).bytesPerDay).toBe(24_000);
});
