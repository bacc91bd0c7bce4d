import { join } from "node:path";
import type { Hash } from "@vlinder/protocol";
import { expect, test, vi } from "vitest";
import { ReaderSession } from "../../src/storage/backends/sqlite/reader-session.ts";
import { WriterConnection } from "../../src/storage/backends/sqlite/writer-connection.ts";
import { writerPool } from "../../src/storage/backends/sqlite/writer-pool.ts";
import { TIME, transaction } from "../../src/storage/conformance/samples.ts";
import { Lineage, type ObjectStorage, type StoredObject } from "../../src/storage/object-storage.ts";
import { dice } from "../sync/noise.ts";
import { has, hashOf, objects, openSqlite, temporaryFolder, value } from "./samples.ts";

// Two instances on one file, as two processes have it: each has a connection, and tables in memory, of its own.

async function two(): Promise<[ObjectStorage, ObjectStorage]> {
  const path = join(await temporaryFolder(), "objects.db");
  return [await openSqlite(path), await openSqlite(path)];
}

function openDatabases(): number {
  return writerPool.threads.reduce((sum, { databases }) => sum + databases, 0);
}

async function namesOf(storage: ObjectStorage): Promise<Hash[]> {
  const names: Hash[] = [];
  for await (const some of storage.names("value")) names.push(...some.map(({ hash }) => hash));
  return names.sort();
}

test("what the other one wrote and removed is noticed by writer and reader", async () => {
  const [one, other] = await two();
  for (let round = 0; round < 30; round++) {
    await one.apply(objects(value(`one ${round}`)));
    await other.apply(objects(value(`one ${round}`), value(`two ${round}`)));
    expect(await has(one, value(`two ${round}`))).toBe(true);
  }
  await other.remove("value", [value("one 3").hash]);
  await one.apply(objects(value("one 3"), value("one 4")));
  expect((await one.usage()).counts.value).toBe(60);
  expect((await other.usage()).counts.value).toBe(60);
});

test(
  "what is acknowledged is there once, whatever the other one stores and removes meanwhile",
  { timeout: 60_000 },
  async () => {
    const seed = Date.now() % 2 ** 31;
    const pick = dice(seed);
    const [one, other] = await two();
    const some = Array.from({ length: 12 }, (_, i) => value(i));
    const there = new Set<StoredObject>();
    for (let round = 0; round < 150; round++) {
      const gone = some.filter(() => pick(10) < 4);
      await (pick(10) < 5 ? one : other).remove(
        "value",
        gone.map(({ hash }) => hash),
      );
      for (const object of gone) there.delete(object);
      // Of the removal nobody has told the first of these.
      const applied = Array.from({ length: 1 + pick(6) }, () => {
        const asked = some.filter(() => pick(10) < 3);
        for (const object of asked) there.add(object);
        return (pick(10) < 7 ? one : other).apply(objects(...asked));
      });
      await Promise.all(applied);
      const expected = [...there].map(({ hash }) => hash).sort();
      expect(await namesOf(one), `seed ${seed}, round ${round}`).toEqual(expected);
      expect((await other.usage()).counts.value, `seed ${seed}, round ${round}`).toBe(expected.length);
      for (const object of there) expect(await has(other, object)).toBe(true);
    }
  },
);

test("transactions of one instance are applied in the order of the calls, also those that are made anew", async () => {
  const [one, other] = await two();
  const called: string[] = [];
  const move = (name: string): Promise<void> => {
    called.push(name);
    const next = hashOf(`commit of ${name}`);
    const branch = { id: hashOf(name), name, expected: null, next, why: "", time: TIME };
    return one.apply(transaction({ objects: [value(name)], branches: [branch] }));
  };
  for (let round = 0; round < 40; round++) {
    await other.apply(objects(value(`other ${round}`)));
    const first = Array.from({ length: 4 }, (_, n) => move(`${round}-${n}`));
    const later = first.map((applied, n) => applied.then(() => move(`${round}-${10 + n}`)));
    // Some are asked for when the first have been refused, and are not made anew yet.
    for (let n = 20; n < 40; n++) {
      later.push(move(`${round}-${n}`));
      await (n % 2 === 0 ? new Promise((resolve) => setImmediate(resolve)) : null);
    }
    await Promise.all(later);
  }
  const moved = (await one.moves(0, 10_000)).entries.map(({ name }) => name);
  expect(moved).toEqual(called);
});

test("what is made anew is stored when it is closed meanwhile", async () => {
  const [one, other] = await two();
  await other.apply(objects(value("other")));
  const applied = Promise.all([one.apply(objects(value("a"))), one.apply(objects(value("b")))]);
  const open = openDatabases();
  await one.close();
  await applied;
  expect(openDatabases()).toBe(open - 1);
  expect(await namesOf(other)).toEqual([value("a"), value("b"), value("other")].map(({ hash }) => hash).sort());
});

test("no difference is made to what the other one has removed", async () => {
  const [one, other] = await two();
  const version = (n: number): Buffer => Buffer.alloc(400, "same").fill(`version ${n}`, 100, 120);
  const lineage = new Lineage(null);
  const node = (n: number): StoredObject => ({ kind: "node", hash: hashOf(version(n)), bytes: version(n), lineage });
  await one.apply(objects(node(1)));
  lineage.stored = node(1).hash;
  expect(lineage.base).not.toBeNull();
  await other.remove("node", [node(1).hash]);
  while ((await other.reclaim(1 << 20)) > 0);
  await one.apply(objects(node(2)));
  expect(await has(one, node(2))).toBe(true);
  expect(await has(other, node(2))).toBe(true);
});

test("a transaction of what is new, or known to be there, looks into no file", async () => {
  const [one] = await two();
  await one.apply(objects(value("again")));
  await one.apply(objects(value("again")));
  const looks = vi.spyOn(ReaderSession.prototype, "refresh");
  try {
    for (let n = 0; n < 50; n++) await one.apply(objects(value("again"), value(`new ${n}`)));
    // A filter takes one in a thousand for known.
    expect(looks.mock.calls.length).toBeLessThan(5);
  } finally {
    looks.mockRestore();
  }
  expect((await one.usage()).counts.value).toBe(51);
});

test("who is overtaken each time is served all the same", async () => {
  const [one, other] = await two();
  type Call = WriterConnection["call"];
  const call = Reflect.get(WriterConnection.prototype, "call") as Call;
  let overtaken = 0;
  const calls = vi.spyOn(WriterConnection.prototype, "call").mockImplementation(async function (
    this: WriterConnection,
    ...args
  ) {
    if (args[0].op === "apply" && overtaken < 20) {
      calls.mockImplementation(call);
      await other.apply(objects(value(`overtaking ${overtaken++}`)));
      calls.mockImplementation(overtake);
    }
    return await call.apply(this, args);
  });
  const overtake = calls.getMockImplementation() as Call;
  try {
    await one.apply(objects(value("late")));
  } finally {
    calls.mockRestore();
  }
  expect(overtaken).toBeGreaterThan(2);
  expect(overtaken).toBeLessThan(10);
  expect(await has(other, value("late"))).toBe(true);
});
