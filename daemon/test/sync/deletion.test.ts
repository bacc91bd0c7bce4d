import { type Hash, sha256 } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { openDevice } from "../../src/sync/vault/device.ts";
import { type HeadName, headPath } from "../../src/sync/head.ts";
import { packPath } from "../../src/sync/listing.ts";
import { encodePack } from "../../src/sync/pack.ts";
import { encodeMark, type Mark, markPath } from "../../src/sync/packs/mark.ts";
import type { VaultId } from "../../src/sync/vault/vault.ts";
import { IS_LONG } from "../../../test/harness/long.ts";
import { type Machine, TODO } from "./machine.ts";
import { noise } from "./noise.ts";
import { wrapped } from "./wrapped-bucket.ts";
import { eager, Fleet, GRACE, OUTCOMES, pushes, withFault } from "./fleet.ts";

describe("deletion", () => {
  /** A has merged; B and C have pulled and pushed before that. */
  async function merged(): Promise<{ fleet: Fleet; a: Machine; b: Machine; old: Hash[] }> {
    const fleet = await Fleet.start();
    const a = await fleet.machine();
    await a.add();
    await pushes(a, 3);
    const b = await fleet.clone();
    b.todo.put("/b", "only here");
    await pushes(a, 3);
    const { packs, marks } = await fleet.listing();
    const old = [...packs.keys()].filter((name) => marks.has(name));
    expect(old.length).toBeGreaterThan(3);
    return { fleet, a, b, old };
  }

  const there = async (fleet: Fleet, packs: readonly Hash[]): Promise<number> => {
    const listing = await fleet.listing();
    return packs.filter((name) => listing.packs.has(name)).length;
  };

  test("comes after the grace, not before; marks stay for a time", async () => {
    const { fleet, a, old } = await merged();
    fleet.clock.tick(GRACE - 1000);
    await a.syncAll();
    expect(await there(fleet, old)).toBe(old.length);
    fleet.clock.tick(1000);
    await a.syncAll();
    expect(await there(fleet, old)).toBe(0);
    const { marks } = await fleet.listing();
    for (const name of old) expect(marks.has(name)).toBe(true);
    expect((await fleet.clone()).todo.contents()).toEqual(a.todo.contents());
  });

  test("a machine that was away longer than the grace sends what only it has, and no more; so does one that only pushes", async () => {
    for (const first of ["push", "sync"] as const) {
      const { fleet, a, b, old } = await merged();
      fleet.clock.tick(GRACE);
      await a.syncAll();
      expect(await there(fleet, old)).toBe(0);
      fleet.clock.tick(3 * GRACE);
      await b.restart();
      if (first === "push") expect((await b.push()).objects).toBeLessThan(5);
      else await b.syncAll();
      await a.syncAll();
      await b.syncAll();
      expect(a.todo.contents()["/b"]).toBe("only here");
      expect(b.todo.head()).toBe(a.todo.head());
      expect((await fleet.clone()).todo.contents()).toEqual(a.todo.contents());
    }
  });

  test("a head that vanished, one that can't be read, and one that was not pulled keep everything", async () => {
    const { fleet, a, b, old } = await merged();
    await b.push();
    await a.sync.pull();
    const bucket = await openBucket(fleet.uri);
    const ofB = (await fleet.listing()).heads.filter(({ device }) => device === b.device);
    const path = `agents/todo/heads/${b.device}/${ofB[0]?.n}-${ofB[0]?.hash}.json`;
    const bytes = (await bucket.get(path)) as Buffer;
    await bucket.delete([path]);
    fleet.clock.tick(2 * GRACE);
    await a.push();
    expect(await there(fleet, old)).toBe(old.length);
    expect((await a.sync.status()).agents[0]?.notes.join()).toContain(`vlinder sync retire ${b.device}`);
    await bucket.put([{ path, bytes }]);
    const junk = `agents/todo/heads/${b.device}/99-${sha256("x")}.json`;
    await bucket.put([{ path: junk, bytes: Buffer.from("x") }]);
    await a.push();
    expect(await there(fleet, old)).toBe(old.length);
    expect((await a.sync.status()).agents[0]?.notes.join()).toContain("a head in the bucket can't be used");
    await bucket.delete([junk]);
    b.packs = { over: 1000, grace: 100 * GRACE };
    await b.restart();
    b.todo.put("/b2", "1");
    await b.sync.push();
    await a.push();
    expect(await there(fleet, old)).toBe(old.length);
    await a.syncAll();
    expect(await there(fleet, old)).toBe(0);
  });

  test("the head of a machine that is away for ever is read by way of marks of marks, however old they are", async () => {
    const { fleet, a } = await merged();
    const away = await fleet.clone();
    const named = [...(await fleet.listing()).packs.keys()];
    for (let i = 0; i < 3; i++) {
      await pushes(a, 6, `round-${i}`);
      fleet.clock.tick(GRACE);
      await a.syncAll();
    }
    for (let i = 0; i < 2; i++) {
      fleet.clock.tick(20 * GRACE);
      await a.syncAll();
    }
    expect(await there(fleet, named)).toBe(0);
    // Its own head is all that names those.
    expect((await fleet.listing()).heads.some(({ device }) => device === away.device)).toBe(true);
    const clone = await fleet.machine();
    expect(await clone.pull()).toMatchObject({ error: null });
    expect(clone.todo.contents()).toEqual(a.todo.contents());
  });

  test("a pack that nobody named goes after a grace to be named and one to be missed", async () => {
    const { fleet, a } = await merged();
    a.todo.put("/cut-off", noise(5, 5000));
    const before = new Set((await fleet.listing()).packs.keys());
    // Its pack is there, and it died before it knew; then it pushes another one with more in it.
    expect(await withFault(a, 1, "kill after", () => a.sync.push())).toBe(true);
    await a.restart();
    const [stray, ...none] = [...(await fleet.listing()).packs.keys()].filter((name) => !before.has(name)) as [Hash];
    expect(none).toEqual([]);
    a.todo.put("/more", "1");
    await a.syncAll();
    for (const [marks, packs] of [
      [false, true],
      [true, true],
      [true, false],
    ] as const) {
      await a.syncAll();
      const listing = await fleet.listing();
      expect([listing.marks.has(stray), listing.packs.has(stray)]).toEqual([marks, packs]);
      // The mark is seen by the next push.
      await a.syncAll();
      fleet.clock.tick(GRACE);
    }
    expect((await fleet.clone()).todo.contents()).toEqual(a.todo.contents());
    fleet.clock.tick(10 * GRACE);
    await a.syncAll();
    await a.syncAll();
    expect((await fleet.listing()).marks.has(stray)).toBe(false);
  });

  for (const outcome of OUTCOMES) {
    test(`that dies at any step (${outcome}) loses nothing for others`, async () => {
      let steps = 0;
      for (let n = 1; ; n++) {
        const { fleet, a, b } = await merged();
        fleet.clock.tick(GRACE);
        const fired = await withFault(a, n, outcome, () => a.sync.push());
        if (!fired) break;
        steps = n;
        expect((await fleet.clone()).todo.contents(), `step ${n}`).toEqual(a.todo.contents());
        await b.syncAll();
        await a.restart();
        await a.syncAll();
        await b.syncAll();
        expect(a.todo.contents()["/b"], `step ${n}`).toBe("only here");
        expect((await fleet.clone()).todo.contents(), `step ${n}`).toEqual(a.todo.contents());
      }
      expect(steps).toBe(IS_LONG ? 4 : 1);
    }, 60_000);
  }
});

test("a push whose pack was taken for a stray one meanwhile gives it another name", async () => {
  const fleet = await Fleet.start(1000);
  const a = await fleet.machine();
  await a.add();
  await pushes(a, 1);
  const b = await fleet.clone();
  a.todo.put("/cut-off", "1");
  const before = new Set((await fleet.listing()).packs.keys());
  expect(await withFault(a, 1, "kill after", () => a.sync.push())).toBe(true);
  const [stray] = [...(await fleet.listing()).packs.keys()].filter((name) => !before.has(name)) as [Hash];
  await b.syncAll();
  fleet.clock.tick(GRACE);
  await b.syncAll();
  expect((await fleet.listing()).marks.has(stray)).toBe(true);
  await a.restart();
  await a.syncAll();
  expect((await a.push()).bytes).toBe(0);
  for (let i = 0; i < 2; i++) {
    await b.syncAll();
    fleet.clock.tick(GRACE);
  }
  await b.syncAll();
  expect((await fleet.listing()).packs.has(stray)).toBe(false);
  expect((await a.push()).bytes).toBe(0);
  expect((await fleet.clone()).todo.contents()).toEqual(a.todo.contents());
});

test("a push that slept for longer than the grace while it wrote its head looks again, and leaves nothing that others can't read", async () => {
  const fleet = await Fleet.start(1000);
  const [a, b] = [await fleet.machine(), await fleet.machine()];
  await a.add();
  await pushes(a, 3);
  await b.syncAll();
  await pushes(b, 3);
  await a.syncAll();
  a.todo.put("/slow", "1");
  const before = [...(await fleet.listing()).packs.keys()];
  let slept = false;
  a.wrap = (bucket) =>
    wrapped(bucket, {
      put: async (files) => {
        if (!slept && files.some(({ path }) => path.includes("/heads/"))) {
          slept = true;
          await eager(b);
          await b.syncAll();
          fleet.clock.tick(GRACE);
          await b.syncAll();
          await b.syncAll();
        }
        await bucket.put(files);
      },
    });
  expect((await a.push()).error).toBeNull();
  expect(slept).toBe(true);
  const { packs } = await fleet.listing();
  expect(before.filter((name) => packs.has(name)).length).toBeLessThan(before.length);
  const [head] = (await fleet.listing()).heads.filter(({ device }) => device === a.device);
  const bucket = await openBucket(fleet.uri);
  const { body } = JSON.parse(String(await bucket.get(headPath(head as HeadName)))) as { body: { packs: Hash[] } };
  for (const name of body.packs) expect(packs.has(name), name).toBe(true);
  expect((await fleet.clone()).todo.contents()).toEqual(a.todo.contents());
});

test("what only a mark says is not enough to delete: one of a known machine may be wrong", async () => {
  const fleet = await Fleet.start(1000);
  const a = await fleet.machine();
  await a.add();
  await pushes(a, 3);
  const b = await fleet.machine();
  await b.syncAll();
  await a.syncAll();
  const old = [...(await fleet.listing()).packs.keys()];
  const bucket = await openBucket(fleet.uri);
  const bytes = Buffer.from("something else");
  const other = await encodePack([{ kind: "value", hash: sha256(bytes), bytes }]);
  const device = await openDevice(a.home, a.device);
  const vault = (JSON.parse(String(await bucket.get("vault.json"))) as { id: VaultId }).id;
  const time = fleet.clock.now().toISOString();
  const by = [{ name: other.name, raw: 20 }];
  const mark: Mark = {
    after: [],
    agent: TODO,
    by,
    device: device.id,
    key: device.key,
    left: [],
    packs: old,
    time,
    vault,
  };
  await bucket.put([
    { path: packPath(TODO, other.name), bytes: other.bytes },
    ...old.map((name) => ({ path: markPath(TODO, name), bytes: encodeMark(mark, device) })),
  ]);
  for (let i = 0; i < 4; i++) {
    await b.syncAll();
    fleet.clock.tick(GRACE);
  }
  const { packs } = await fleet.listing();
  for (const name of old) expect(packs.has(name)).toBe(true);
});

test("files that are not vlinder's are named, and stay, whatever is merged and deleted", async () => {
  const fleet = await Fleet.start();
  const a = await fleet.machine();
  await a.add();
  const [hash, device] = ["ab".repeat(32), "cd".repeat(16)];
  const foreign = [
    "agents/todo/packs/notes.txt",
    `agents/todo/packs/${hash}.packs`,
    `agents/todo/packs/old/${hash}.pack`,
    `agents/todo/heads/${device}/01-${hash}.json`,
    `agents/todo/heads/${device}/readme`,
  ];
  const bucket = await openBucket(fleet.uri);
  await bucket.put([...foreign, "mine.txt"].map((path) => ({ path, bytes: Buffer.from(path) })));
  await pushes(a, 8);
  fleet.clock.tick(GRACE);
  for (let i = 0; i < 2; i++) {
    await a.syncAll();
    fleet.clock.tick(20 * GRACE);
  }
  const { packs, marks } = await fleet.listing();
  expect([...packs.keys()].filter((name) => marks.has(name))).toEqual([]);
  const notes = (await a.sync.status()).agents[0]?.notes.join();
  for (const path of foreign) {
    expect(notes).toContain(path);
    expect(String(await bucket.get(path))).toBe(path);
  }
  expect(String(await bucket.get("mine.txt"))).toBe("mine.txt");
});

describe("retire", () => {
  async function three(): Promise<{ fleet: Fleet; a: Machine; b: Machine; lost: Machine }> {
    const fleet = await Fleet.start();
    const a = await fleet.machine();
    await a.add();
    a.todo.put("/a", "1");
    await a.syncAll();
    const [b, lost] = [await fleet.clone(), await fleet.clone()];
    lost.todo.put("/lost", "pushed, and in no other machine");
    await lost.push();
    return { fleet, a, b, lost };
  }
  const retire = (machine: Machine, device: string) => machine.sync.retire(device, () => machine.sync.pull());

  test("keeps what the machine pushed, ends its claim, and lets it come back", async () => {
    const { fleet, a, b, lost } = await three();
    const device = lost.device.slice(0, 8);
    expect(await retire(a, device)).toEqual({ device: lost.device, agents: [TODO], notes: [] });
    expect((await fleet.listing()).heads.map((head) => head.device)).not.toContain(lost.device);
    expect((await fleet.clone()).todo.contents()["/lost"]).toBe("pushed, and in no other machine");
    // Nobody waits for it: what is replaced goes.
    await pushes(a, 6);
    await b.syncAll();
    await a.syncAll();
    fleet.clock.tick(GRACE);
    await a.syncAll();
    const { packs, marks } = await fleet.listing();
    expect([...packs.keys()].filter((name) => marks.has(name))).toEqual([]);
    // Long after that it is found in a drawer.
    lost.todo.put("/found", "again");
    fleet.clock.tick(20 * GRACE);
    for (const machine of [lost, a, b, lost, a]) await machine.syncAll();
    expect(a.todo.contents()).toMatchObject({ "/lost": "pushed, and in no other machine", "/found": "again" });
    expect(new Set([a, b, lost].map(({ todo }) => todo.head())).size).toBe(1);
    expect((await fleet.listing()).heads.map((head) => head.device)).toContain(lost.device);
    expect((await fleet.clone()).todo.contents()).toEqual(a.todo.contents());
  });

  test("refuses this machine, a device that nobody knows, and what would lose something", async () => {
    const { fleet, a, lost } = await three();
    await expect(retire(a, a.device)).rejects.toMatchObject({ code: "invalid" });
    await expect(retire(a, "0".repeat(32))).rejects.toMatchObject({ code: "not_found" });
    await a.syncAll();
    // It is in use: it has written since.
    lost.todo.put("/since", "1");
    const before = await fleet.listing();
    await lost.push();
    await expect(a.sync.retire(lost.device, async () => ({ agents: [] }))).resolves.toMatchObject({
      agents: [],
      notes: [expect.stringContaining("refused")],
    });
    expect((await fleet.listing()).heads.length).toBe(before.heads.length);
    expect(await retire(a, lost.device)).toMatchObject({ agents: [TODO], notes: [] });
    expect(a.todo.contents()["/since"]).toBe("1");
  });
});
