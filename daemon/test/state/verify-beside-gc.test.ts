import { setTimeout as sleep } from "node:timers/promises";
import type { Hash } from "@vlinder/protocol";
import { expect, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import type { Kind, StoredObject } from "../../src/storage/object-storage.ts";
import { DAY, type Home, newHome, openHome, put, stateAt } from "./retention-harness.ts";

/** Says when verifying begins to read it all. */
class VerifiedObjects extends MemoryObjects {
  onVerify: (() => Promise<void>) | null = null;

  override async scan(kind: Kind, after: Hash | null, limit: number): Promise<StoredObject[]> {
    if (kind === "commit" && after === null) await this.onVerify?.();
    return super.scan(kind, after, limit);
  }
}

/** Commits whose states a collection drops, and with them trees that are stored. */
async function outdated(engine: StateEngine, { clock }: Home, round: number): Promise<void> {
  for (let i = 0; i < 70; i++) await put(engine, `/step/${i % 10}`, `${round} ${i}`);
  clock.tick(8 * DAY);
  await put(engine, "/after", `${round}`);
}

interface Beside {
  readonly home: Home;
  readonly engine: StateEngine;
  readonly collections: Promise<{ commits: { dropped: number } }>[];
  /** Resolves when a collection does not come to its end while verifying reads. */
  readonly isHeld: Promise<void>;
}

/** Whenever verifying begins to read, a collection is made that has something to drop. Verifying goes on behind it, or when it has to wait and `goOn` is done. */
async function collecting(uri: string, goOn: Promise<void>): Promise<Beside> {
  const storage = new VerifiedObjects(uri);
  const home = newHome(storage);
  const engine = await openHome(home);
  const collections: Beside["collections"] = [];
  const isHeld = new Promise<void>((held) => {
    const onVerify = async (): Promise<void> => {
      // A collection reads all commits, too.
      storage.onVerify = null;
      const collection = engine.retention.collect(true);
      collections.push(collection);
      if ((await Promise.race([collection, sleep(500)])) === undefined) {
        held();
        return goOn;
      }
      await outdated(engine, home, collections.length);
      storage.onVerify = onVerify;
    };
    storage.onVerify = onVerify;
  });
  await outdated(engine, home, 0);
  return { home, engine, collections, isHeld };
}

test("states that are dropped beside it are no damage, however often that happens", async () => {
  const { home, engine, collections, isHeld } = await collecting("memory://beside", Promise.resolve());
  const report = await engine.verify();
  expect(report.damage).toEqual([]);
  expect(report.damaged).toBe(0);
  await isHeld;
  // It began over before that.
  expect(collections.length).toBeGreaterThan(2);
  for (const { commits } of await Promise.all(collections)) expect(commits.dropped).toBeGreaterThan(0);
  expect((await engine.verify()).damaged).toBe(0);
  // Upkeep goes on.
  home.clock.tick(8 * DAY);
  expect((await engine.retention.space()).quarantine.length).toBe(1);
  await engine.retention.tidy();
  expect((await engine.retention.space()).quarantine).toEqual([]);
  await engine.close();
});

test("a collection that waits for it is refused when the agent is closed", async () => {
  let goOn = (): void => {};
  const { engine, collections, isHeld } = await collecting(
    "memory://closed",
    new Promise((resolve) => {
      goOn = resolve;
    }),
  );
  const verifying = engine.verify();
  await isHeld;
  // Nobody else waits: neither a sync that has nothing to erase, nor upkeep.
  expect(await engine.retention.settle()).toEqual([]);
  await engine.retention.tidy();
  const closing = engine.close();
  goOn();
  await expect(verifying).rejects.toMatchObject({ code: "unavailable" });
  await expect(collections.at(-1)).rejects.toMatchObject({ code: "unavailable" });
  await closing;
});

test("what is written while a collection begins is kept, however long the machine sleeps then", async () => {
  const storage = new VerifiedObjects("memory://asleep");
  const home = newHome(storage);
  const engine = await openHome(home);
  await outdated(engine, home, 0);
  const written: Hash[] = [];
  // The heads were taken, and history is read.
  storage.onVerify = async () => {
    storage.onVerify = null;
    for (let i = 0; i < 70; i++) written.push(await put(engine, `/late/${i % 10}`, `${i}`));
    home.clock.tick(8 * DAY);
  };
  await engine.retention.collect(true);
  expect(written.length).toBe(70);
  for (const state of written) expect(Object.keys(await stateAt(engine, state)).length).toBeGreaterThan(10);
  expect((await engine.verify()).damaged).toBe(0);
  await engine.close();
});
