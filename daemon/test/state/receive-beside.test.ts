import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { type BranchName, type Hash, MAIN, parseKey } from "@vlinder/protocol";
import { beforeEach, describe, expect, test } from "vitest";
import type { StoredObject } from "../../src/storage/object-storage.ts";
import { contents, type Opened, put } from "./harness.ts";
import { emptyMachine, machine, objectsFor } from "./machines.ts";
import { noise } from "./property.ts";

// Two calls on their way at once, of which the second rests on the first, as a pull takes packs.

const LARGE = noise(1, 9_000_000);
const VALUES = new Set(["value", "chunk", "list"]);

let sender: Opened;
let receiver: Opened;
let first: StoredObject[];
let second: StoredObject[];
let head: Hash;

beforeEach(async () => {
  sender = await machine(1);
  const { engine, clock } = sender;
  const base = (await put(engine, { "/a": "one", "/large": LARGE })) as Hash;
  clock.tick(1000);
  head = (await put(engine, { "/a": "two", "/b": "b", "/again": LARGE })) as Hash;
  first = await objectsFor(engine, [base]);
  const before = new Set(first.map(({ hash }) => hash));
  second = (await objectsFor(engine, [head], [base])).filter(({ hash }) => !before.has(hash));
  receiver = await emptyMachine(2);
});

const has = async (objects: readonly StoredObject[]): Promise<boolean[]> =>
  Promise.all(
    objects.map(async ({ kind, hash }) => (await receiver.engine.read(kind, [hash])).every((bytes) => bytes !== null)),
  );

describe("a call that begins before the one ends on which it rests", () => {
  test("stores values at once, and its commits behind the earlier call", async () => {
    const { engine } = receiver;
    const earlier = Promise.withResolvers<void>();
    const values = Promise.withResolvers<void>();
    let ended = false;
    const receiving = engine.receive(second, [], { earlier: earlier.promise, onValues: values.resolve });
    void receiving.then(() => (ended = true));
    await values.promise;
    const own = second.filter(({ kind }) => VALUES.has(kind));
    expect(own.length).toBeGreaterThan(0);
    expect(await has(own)).toEqual(own.map(() => true));
    await engine.receive(first);
    expect(ended).toBe(false);
    expect(await engine.has([head])).toEqual([false]);
    earlier.resolve();
    expect(await receiving).toMatchObject({ commits: 1 });
    await engine.integrate(sender.engine.branches());
    expect(await contents(engine)).toEqual(await contents(sender.engine));
    expect((await engine.verify()).damage).toEqual([]);
  });

  test("ends with the error of the earlier one, and nothing of its commits is here", async () => {
    const { engine } = receiver;
    const why = new Error("the earlier one was refused");
    const earlier = Promise.withResolvers<void>();
    const receiving = engine.receive(second, [], { earlier: earlier.promise });
    earlier.reject(why);
    await expect(receiving).rejects.toBe(why);
    expect(await engine.has([head])).toEqual([false]);
    await engine.receive(first);
    await engine.receive(second);
    expect(await engine.has([head])).toEqual([true]);
  });

  test("is refused for itself while the earlier one is still on its way", async () => {
    const { engine } = receiver;
    const bad: StoredObject = { kind: "value", hash: head, bytes: Buffer.from("of another hash") };
    const earlier = Promise.withResolvers<void>();
    await expect(engine.receive([bad], [], { earlier: earlier.promise })).rejects.toMatchObject({ code: "invalid" });
    earlier.resolve();
  });

  test("finds parts of its lists that the earlier one brings", async () => {
    const { engine } = receiver;
    const lists = first.filter(({ kind }) => kind === "list");
    expect(lists.length).toBeGreaterThan(0);
    const earlier = Promise.withResolvers<void>();
    const receiving = engine.receive(lists, [], { earlier: earlier.promise });
    for (let turn = 0; turn < 20; turn++) await nextTurn();
    await engine.receive(first.filter(({ kind }) => kind !== "list" && kind !== "commit"));
    earlier.resolve();
    await receiving;
    expect(await has(lists)).toEqual(lists.map(() => true));
  });

  test("values that the earlier one erased are erased here too", async () => {
    const { engine, clock } = sender;
    const branch = "side" as BranchName;
    clock.tick(1000);
    await engine.fork(branch, await engine.resolve("main"));
    const told = (await put(engine, { "/secret": "told once" }, branch)) as Hash;
    const side = (await objectsFor(engine, [told], [head])).map((object) => ({ ...object }));
    clock.tick(1000);
    await engine.deleteBranch(branch);
    clock.tick(1000);
    await engine.retention.forget({ key: parseKey("/secret"), isPrefix: false }, true);
    const erase = engine.branch(MAIN).head;
    await receiver.engine.receive([...first, ...second]);
    const earlier = receiver.engine.receive(await objectsFor(engine, [erase], [head])).then(() => {});
    await receiver.engine.receive(side, [], { earlier });
    await receiver.engine.integrate(engine.branches());
    await receiver.engine.retention.settle();
    const secret = side.filter(({ bytes }) => Buffer.from(bytes).equals(Buffer.from("told once")));
    expect(secret).toHaveLength(1);
    expect(await has(secret)).toEqual([false]);
  });
});

test("what an erase commit says is stored with it, and not with values beside it", async () => {
  const { engine, clock } = sender;
  clock.tick(1000);
  await put(engine, { "/secret": "told once" });
  clock.tick(1000);
  await engine.retention.forget({ key: parseKey("/secret"), isPrefix: false }, true);
  const erase = engine.branch(MAIN).head;
  clock.tick(1000);
  await put(engine, Object.fromEntries([1, 2, 3, 4, 5].map((n) => [`/more/${n}`, noise(n, 4_000_000)])));
  const last = (await put(engine, { "/last": "does not come along" })) as Hash;
  const all = await objectsFor(engine, [last]);
  const objects = all.filter(({ bytes }) => !Buffer.from(bytes).equals(Buffer.from("does not come along")));
  const { storage } = receiver;
  const apply = storage.apply.bind(storage);
  storage.apply = async (transaction) => {
    await sleep(5);
    return await apply(transaction);
  };
  await expect(receiver.engine.receive(objects)).rejects.toMatchObject({ code: "invalid" });
  expect(await receiver.engine.has([erase])).toEqual([false]);
  expect(await receiver.storage.notes("eras")).toEqual([]);
  await receiver.engine.receive(all);
  expect((await receiver.storage.notes("erased/")).map(({ name }) => name)).toEqual([`erased/${erase}`]);
});
