import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MAIN } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { type AgentListing, listAgent } from "../../src/sync/listing.ts";
import { contents, put } from "../state/harness.ts";
import { type Box, EngineFleet, GRACE, meet, same, verified } from "./engine-fleet.ts";
import { TODO } from "./machine.ts";

// Packs that are merged, marked, rewritten and deleted in an encrypted vault, while members come and go.

async function fleetOf(count: number): Promise<{ fleet: EngineFleet; boxes: Box[] }> {
  return await EngineFleet.start(count, { encrypt: true, over: 4 });
}

async function pushes(box: Box, count: number, name: string): Promise<void> {
  for (let i = 0; i < count; i++) {
    await put(box.todo, { [`/${name}/${i}`]: `${name} ${i}` });
    await box.syncAll();
  }
}

const listing = async (fleet: EngineFleet): Promise<AgentListing> => listAgent(await openBucket(fleet.uri), TODO);

async function letIn(fleet: EngineFleet, by: Box): Promise<Box> {
  const box = await fleet.stranger();
  const { request } = await box.sync.vault.request("new");
  const { hash } = await by.sync.vault.add(request);
  await box.sync.init(fleet.uri, { vault: hash });
  return box;
}

test("marks are sealed as all is, and a member who is let in after the merges has all, before and after what was replaced is deleted", async () => {
  const { fleet, boxes } = await fleetOf(2);
  const [a, b] = boxes as [Box, Box];
  await pushes(a, 8, "secret-of-a");
  await pushes(b, 3, "secret-of-b");
  const { marks } = await listing(fleet);
  expect(marks.size).toBeGreaterThan(3);
  const packs = join(fileURLToPath(fleet.uri), "agents", TODO, "packs");
  for (const file of (await readdir(packs)).filter((name) => name.endsWith(".dropped"))) {
    const text = String(await readFile(join(packs, file)));
    for (const word of [a.device, b.device, ...marks]) expect(text.includes(word)).toBe(false);
    expect(JSON.parse(text)).toMatchObject({ encryption: "age", v: 1 });
  }
  const c = await letIn(fleet, b);
  await c.syncAll();
  await meet(a, b, c);
  await same(a, b, c);
  for (let i = 0; i < 3; i++) {
    fleet.clock.tick(GRACE);
    await meet(a, b, c);
  }
  expect((await listing(fleet)).packs.size).toBeLessThan(8);
  const d = await letIn(fleet, c);
  await d.syncAll();
  await meet(a, b, c, d);
  await same(a, b, c, d);
  expect(Object.keys(await contents(d.todo))).toHaveLength(11);
});

test("a removed member's marks: who believed them goes on, who comes later needs none of them, and nothing is lost", async () => {
  const { fleet, boxes } = await fleetOf(3);
  const [a, b, c] = boxes as [Box, Box, Box];
  await pushes(a, 3, "a");
  await meet(b, c);
  // It merges what all have; b does not hear of it before c is taken out.
  await pushes(c, 6, "c");
  expect((await listing(fleet)).marks.size).toBeGreaterThan(0);
  await a.pull();
  await a.sync.vault.distrust(c.device);
  await put(a.todo, { "/after": "1" });
  await put(b.todo, { "/of-b": "1" });
  await meet(a, b);
  const d = await letIn(fleet, a);
  await d.syncAll();
  for (let i = 0; i < 4; i++) {
    fleet.clock.tick(GRACE);
    await put(a.todo, { [`/later/${i}`]: "1" });
    await put(d.todo, { [`/later/d/${i}`]: "1" });
    await meet(a, b, d);
  }
  const e = await letIn(fleet, d);
  await e.syncAll();
  await meet(a, b, d, e);
  await same(a, b, d, e);
  const all = await contents(e.todo);
  expect(Object.keys(all)).toEqual(
    expect.arrayContaining(["/after", "/of-b", "/a/2", "/c/5", "/later/3", "/later/d/3"]),
  );
  for (const box of [a, b, d, e])
    expect((await box.sync.status()).agents[0]).toMatchObject({ error: null, owed: { commits: 0 } });
});

test("a forget after merges takes the bytes out of the vault, for members who hold its keys too; a lost machine is retired, and what it pushed stays", async () => {
  const { fleet, boxes } = await fleetOf(3);
  const [a, b, c] = boxes as [Box, Box, Box];
  await put(a.todo, { "/secret": "what is to be forgotten" });
  await pushes(a, 6, "a");
  await pushes(c, 2, "c");
  await meet(a, b);
  // C is lost.
  await a.todo.retention.forget({ key: "/secret" as never, isPrefix: false }, true);
  await meet(a, b);
  await a.sync.retire(c.device, () => a.sync.pull());
  for (let i = 0; i < 3; i++) {
    fleet.clock.tick(GRACE);
    await meet(a, b);
  }
  const { packs, heads } = await listing(fleet);
  expect(heads.some(({ device }) => device === c.device)).toBe(false);
  for (const pack of packs.keys()) expect(await fleet.holds(a, pack, "what is to be forgotten")).toBe(false);
  const d = await letIn(fleet, b);
  await d.syncAll();
  await meet(a, b, d);
  await same(a, b, d);
  await verified(d);
  expect(await d.todo.resolve(MAIN)).toBe(await a.todo.resolve(MAIN));
  const view = await d.todo.stateOf();
  expect(await view.get("kv", "/c/1" as never)).not.toBeNull();
});
