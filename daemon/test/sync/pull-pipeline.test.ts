import { join } from "node:path";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { type AgentName, type DeviceId, type Hash, invalid, VlinderError } from "@vlinder/protocol";
import Database from "better-sqlite3";
import { beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { StateEngine } from "../../src/state/engine.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { openSqliteObjects } from "../../src/storage/backends/sqlite/sqlite-objects.ts";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { listAgent, packPath } from "../../src/sync/listing.ts";
import { PackLedger } from "../../src/sync/packs/pack-ledger.ts";
import { contents, contract, put } from "../state/harness.ts";
import { Machine, tempBucket, tempFolder, TODO } from "./machine.ts";
import { noise } from "./noise.ts";
import { wrapped } from "./wrapped-bucket.ts";

// A pull of several packs, of which the next is on its way while the last is, into the storage that a daemon has.

type Box = Machine<StateEngine>;

const ROUNDS = 4;
let uri: string;
let a: Box;
let b: Box;

/** @param isStored in a file, as a daemon has it; else in memory */
async function box(isStored: boolean): Promise<Box> {
  const make = async (agent: string, device: DeviceId): Promise<StateEngine> => {
    const storage = isStored
      ? await openSqliteObjects({ path: join(await tempFolder(), "objects.db"), durability: "process" })
      : new MemoryObjects(`memory://${device}`);
    const engine = await StateEngine.open({ agent: agent as AgentName, storage, device: () => device });
    onTestFinished(() => engine.close());
    return engine;
  };
  const machine = await Machine.start<StateEngine>({ make });
  await machine.sync.init(uri);
  return machine;
}

/** What each pull needs of the one before: a value that grows, so that its chunks are shared, and keys that are changed again. */
beforeEach(async () => {
  uri = await tempBucket();
  a = await box(false);
  await a.add();
  await a.todo.setContract(contract());
  for (let round = 0; round < ROUNDS; round++) {
    const large = noise(1, 1_200_000 + 300_000 * round);
    await put(a.todo, { "/large": large, [`/round-${round}`]: `${round}`, "/last": `round ${round}` });
    await put(a.todo, Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`/many/${i}`, `${round} ${i}`])));
    expect((await a.push()).error).toBeNull();
  }
  b = await box(true);
});

async function packs(): Promise<Hash[]> {
  return [...(await listAgent(await openBucket(uri), TODO)).packs.keys()];
}

async function isSame(): Promise<void> {
  expect(b.todo.branch("main" as never).head).toBe(a.todo.branch("main" as never).head);
  expect(await contents(b.todo)).toEqual(await contents(a.todo));
  for await (const { hash } of a.todo.log(a.todo.branch("main" as never).head)) {
    expect(await b.todo.has([hash])).toEqual([true]);
  }
}

describe("a pull of several packs", () => {
  test("brings all of them, and what they hold is whole when their memory is given back", async () => {
    expect(await packs()).toHaveLength(ROUNDS);
    const [pulled] = (await b.sync.pull()).agents;
    expect(pulled).toMatchObject({ error: null });
    await isSame();
    expect((await b.todo.verify()).damage).toEqual([]);
    // Each was noted: nothing is fetched twice, and nothing is sent again.
    expect(await b.pull()).toMatchObject({ bytes: 0, commits: 0 });
    const before = new Set(await packs());
    await put(b.todo, { "/from-b": "1" });
    expect((await b.push()).bytes).toBeLessThan(5000);
    expect((await packs()).filter((pack) => !before.has(pack))).toHaveLength(1);
  });

  test("a pack that is refused, wherever it stands, stops those behind it and is named; the next pull goes on there", async () => {
    const all = await packs();
    for (const bad of all) {
      const c = await box(true);
      let spoiled = true;
      c.wrap = (bucket) =>
        wrapped(bucket, {
          get: async (path, range) => {
            const bytes = await bucket.get(path, range);
            if (spoiled && bytes !== null && path === packPath(TODO, bad)) bytes[bytes.length - 5]! ^= 1;
            return bytes;
          },
        });
      const [pulled] = (await c.sync.pull()).agents;
      expect(pulled?.error).toMatchObject({ code: "unavailable", message: expect.stringContaining(bad) });
      expect(c.todo.liveBranches()).toEqual([]);
      const head = a.todo.branch("main" as never).head;
      expect(await c.todo.has([head])).toEqual([false]);
      spoiled = false;
      const [again] = (await c.sync.pull()).agents;
      expect(again).toMatchObject({ error: null });
      expect(pulled!.bytes + again!.bytes).toBe((await b.sync.pull()).agents[0]?.bytes ?? 0);
      b = c;
      await isSame();
      b = await box(true);
    }
  });

  test("the error of the first pack that can't be taken is told, also when the next one is refused sooner", async () => {
    await b.add();
    const engine = b.todo;
    const receive = engine.receive.bind(engine);
    const order: Hash[] = [];
    engine.receive = async (...args) => {
      const [objects, , beside] = args;
      const name = objects[0]?.hash as Hash;
      if (!order.includes(name)) order.push(name);
      if (order.indexOf(name) === 1) {
        beside?.onValues?.();
        while (order.length < 3) await nextTurn();
        throw invalid("the second is refused");
      }
      if (order.indexOf(name) === 2) throw invalid("the third is refused at once");
      return await receive(...args);
    };
    const refused = await b.pull();
    expect(refused.error).toMatchObject({ message: expect.stringContaining("the second is refused") });
    engine.receive = receive;
    expect(await b.pull()).toMatchObject({ error: null });
    await isSame();
  });

  test("an error that nobody foresaw is thrown, and nothing is lost by it", async () => {
    await b.add();
    const engine = b.todo;
    const receive = engine.receive.bind(engine);
    let calls = 0;
    engine.receive = async (...args) => {
      if (++calls === 2) throw new TypeError("a bug");
      return await receive(...args);
    };
    const [pulled] = (await b.sync.pull()).agents;
    expect(pulled?.error).toMatchObject({ code: "internal" });
    engine.receive = receive;
    expect(await b.pull()).toMatchObject({ error: null });
    await isSame();
  });

  test("of a pack that can't be taken nothing stays noted", async () => {
    await b.add();
    const engine = b.todo;
    const receive = engine.receive.bind(engine);
    engine.receive = async () => {
      throw new VlinderError("unavailable", "the disk is full", { retryable: true });
    };
    expect((await b.pull()).error).toMatchObject({ code: "unavailable" });
    engine.receive = receive;
    const db = new Database(join(b.home, "agents", TODO, "sync.db"), { readonly: true });
    const rows = (table: string): unknown => db.prepare(`SELECT count(*) FROM ${table}`).pluck().get();
    expect([rows("packs"), rows("objects")]).toEqual([0, 0]);
    expect(await b.pull()).toMatchObject({ error: null });
    await isSame();
    expect(rows("packs")).toBe(ROUNDS);
    db.close();
  });

  test("that waits for one of them begins no more than two behind it, and fetches none behind one that is gone", async () => {
    const all = await packs();
    const order: string[] = [];
    b.wrap = (bucket) =>
      wrapped(bucket, {
        get: async (path, range) => {
          if (!all.some((pack) => path === packPath(TODO, pack))) return await bucket.get(path, range);
          if (!order.includes(path)) order.push(path);
          return path === order[gone] ? null : await bucket.get(path, range);
        },
      });
    let gone = -1;
    await b.add();
    const engine = b.todo;
    const receive = engine.receive.bind(engine);
    let underWay = 0;
    let most = 0;
    engine.receive = async (...args) => {
      most = Math.max(most, ++underWay);
      args[2]?.onValues?.();
      for (let turn = 0; underWay < 4 && turn < 30; turn++) await sleep(10);
      return await receive(...args).finally(() => underWay--);
    };
    expect(await b.pull()).toMatchObject({ error: null });
    expect(most).toBe(3);
    await isSame();

    order.length = 0;
    gone = 1;
    const c = await box(true);
    c.wrap = b.wrap;
    expect((await c.sync.pull()).agents[0]?.error).toMatchObject({ code: "unavailable" });
    // The one behind it was on its way when it was found to be gone.
    expect(order.length).toBeLessThanOrEqual(3);
  });

  test("ends when all that it began has ended, also when sync.db fails, and says why the pack could not be taken", async () => {
    await b.add();
    const engine = b.todo;
    const receive = engine.receive.bind(engine);
    let [begun, ended] = [0, 0];
    engine.receive = async (...args) => {
      begun++;
      try {
        for (let turn = 0; turn < 50; turn++) await nextTurn();
        if (begun > 1) throw new VlinderError("unavailable", "the disk is full", { retryable: true });
        return await receive(...args);
      } finally {
        ended++;
      }
    };
    const add = vi
      .spyOn(PackLedger.prototype, "addPack")
      .mockImplementation(() => Promise.reject(new Error("SQLITE_FULL")));
    expect((await b.sync.pull()).agents[0]?.error).toMatchObject({ code: "internal" });
    expect(ended).toBe(begun);
    add.mockRestore();
    engine.receive = receive;
    expect(await b.pull()).toMatchObject({ error: null });
    await isSame();
  });
});
