import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type Hash, sha256 } from "@vlinder/protocol";
import { expect, onTestFinished, test } from "vitest";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { listAgent, packPath } from "../../src/sync/listing.ts";
import { encodeMark, type Mark, markPath } from "../../src/sync/packs/mark.ts";
import { Marks } from "../../src/sync/packs/marks.ts";
import { Route } from "../../src/sync/packs/route.ts";
import { SyncState } from "../../src/sync/sync-state.ts";
import { openDevice } from "../../src/sync/vault/device.ts";
import type { VaultId } from "../../src/sync/vault/vault.ts";
import { Machine, tempBucket, TODO } from "./machine.ts";

// A mark says that its replacements hold no more than what they replace. Machines that have that believe it, and do not read them.

async function pair(): Promise<[Machine, Machine]> {
  const uri = await tempBucket();
  const [a, b] = [await Machine.start({ packs: { over: 1000 } }), await Machine.start({ packs: { over: 1000 } })];
  for (const machine of [a, b]) await machine.sync.init(uri);
  await a.add();
  for (let i = 0; i < 5; i++) {
    a.todo.put(`/${i}`, `${i}`);
    await a.push();
  }
  await b.syncAll();
  return [a, b];
}

test("packs that one of them holds already, with more, are replaced by one of another name, so that nobody takes it for as little as they were", async () => {
  const [a, b] = await pair();
  // As after a restored backup: it sends all of its history as one pack, and has that of the bucket besides.
  await a.sync.release(TODO);
  await rm(join(a.home, "agents", TODO, "sync.db"));
  a.todo.put("/new", "1");
  await a.push();
  await a.pull();
  a.packs = { over: 1 };
  await a.restart();
  await a.push();
  const pulled = await b.pull();
  expect(pulled).toMatchObject({ error: null });
  expect(pulled.notes.join()).not.toContain("refused");
  expect(b.todo.head()).toBe(a.todo.head());
});

test("a mark of a known device that claims too much is found out as soon as something lacks, and the packs are read", async () => {
  const [a, b] = await pair();
  const bucket = await openBucket(a.sync.bucket as string);
  const before = new Set((await listAgent(bucket, TODO)).packs.keys());
  a.todo.put("/new", "1");
  await a.push();
  const { packs } = await listAgent(bucket, TODO);
  const fresh = [...packs.keys()].filter((name) => !before.has(name));
  expect(fresh).toHaveLength(1);
  const device = await openDevice(a.home, a.device);
  const mark: Mark = {
    after: [],
    agent: TODO,
    by: [{ name: fresh[0] as Hash, raw: 1000 }],
    device: device.id,
    key: device.key,
    left: [],
    packs: [...before],
    time: new Date().toISOString(),
    vault: JSON.parse(String(await bucket.get("vault.json"))).id as VaultId,
  };
  const bytes = encodeMark(mark, device);
  await bucket.put(mark.packs.map((name) => ({ path: markPath(TODO, name), bytes })));
  const pulled = await b.pull();
  expect(pulled.error).toBeNull();
  expect(pulled.notes.join()).not.toContain("refused");
  expect(b.todo.head()).toBe(a.todo.head());
});

test("a pack that comes to be known after its replacement was replaced says nothing about what was left out then", async () => {
  const uri = await tempBucket();
  const machine = await Machine.start();
  const { vault } = await machine.sync.init(uri);
  const bucket = await openBucket(uri);
  const device = await openDevice(machine.home, machine.device);
  const [first, second, third, kept, erased] = ["first", "second", "third", "kept", "erased"].map((text) =>
    sha256(text),
  );
  for (const { of, by, left } of [
    { of: first, by: second, left: [] },
    { of: second, by: third, left: [erased] },
  ] as { of: Hash; by: Hash; left: Hash[] }[]) {
    const body = { after: [], agent: TODO, by: [{ name: by, raw: 1 }], device: device.id, key: device.key };
    const mark = { ...body, left, packs: [of], time: "2026-11-26T12:00:00.000Z", vault: vault as VaultId };
    await bucket.put([{ path: markPath(TODO, of), bytes: encodeMark(mark, device) }]);
  }
  await bucket.put([{ path: packPath(TODO, third as Hash), bytes: Buffer.from("pack") }]);
  const state = SyncState.open(join(machine.home, "ledger.db"));
  onTestFinished(() => state.close());
  const objects = [kept, erased].map((hash) => ({ kind: "chunk" as const, hash: hash as Hash }));
  const adopt = async (): Promise<void> => {
    const listing = await listAgent(bucket, TODO);
    const trust = { check: () => Promise.resolve(null), knows: () => true };
    const source = { agent: TODO, bucket, vault: vault as VaultId, sealer: null, trust, state, listing, retries: [] };
    const route = new Route(listing, new Marks(source), state);
    await route.begin();
    await route.adopt();
  };
  await state.addPack(third as Hash, 4, objects.slice(0, 1));
  await state.addPack(second as Hash, 4, objects);
  await adopt();
  expect(state.has("chunk", erased as Hash)).toBe(false);
  await state.addPack(first as Hash, 4, objects);
  expect(state.has("chunk", erased as Hash)).toBe(true);
  await adopt();
  expect(state.has("chunk", kept as Hash)).toBe(true);
  expect(state.has("chunk", erased as Hash)).toBe(false);
  expect(new Set(state.leftOut().map(({ pack }) => pack))).toEqual(new Set([first, second]));
});
