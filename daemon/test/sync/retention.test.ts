import type { AgentName, DeviceId } from "@vlinder/protocol";
import { expect, onTestFinished, test } from "vitest";
import { StateEngine } from "../../src/state/engine.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { listAgent, packPath } from "../../src/sync/listing.ts";
import { decodePack } from "../../src/sync/pack.ts";
import { contents, contract, put, TestClock } from "../state/harness.ts";
import { Machine, tempBucket, TODO } from "./machine.ts";
import { noise } from "./noise.ts";

const DAY = 24 * 3_600_000;

function engineOf(clock: TestClock): (agent: string, device: DeviceId) => Promise<StateEngine> {
  return async (agent, device) => {
    const storage = new MemoryObjects(`memory://${device}`);
    const engine = await StateEngine.open({ agent: agent as AgentName, storage, device: () => device, now: clock.now });
    onTestFinished(() => engine.close());
    return engine;
  };
}

/** Names of the packs in the bucket that hold these bytes. */
async function filesWith(machine: Machine<StateEngine>, text: string): Promise<string[]> {
  const bucket = await openBucket(machine.sync.bucket as string);
  const found: string[] = [];
  for (const pack of (await listAgent(bucket, TODO)).packs.keys()) {
    const objects = await decodePack((await bucket.get(packPath(TODO, pack))) as Buffer);
    if (objects.some(({ bytes }) => Buffer.from(bytes).includes(text))) found.push(pack);
  }
  return found;
}

/** Two machines on one bucket whose agent keeps states for a day, and a clock for both. */
async function two(): Promise<{ a: Machine<StateEngine>; b: Machine<StateEngine>; clock: TestClock }> {
  const clock = new TestClock();
  const uri = await tempBucket();
  const start = async (): Promise<Machine<StateEngine>> => {
    const machine: Machine<StateEngine> = await Machine.start<StateEngine>({
      make: async (agent: string, device: DeviceId) => {
        const engine = await StateEngine.open({
          agent: agent as AgentName,
          storage: new MemoryObjects(`memory://${device}`),
          device: () => device,
          now: clock.now,
          roots: () => ({ heads: () => machine.sync.knownHeads(TODO) }),
          onErased: (_rows, hashes) => machine.sync.erased(TODO, hashes),
        });
        onTestFinished(() => engine.close());
        return engine;
      },
    });
    await machine.sync.init(uri);
    return machine;
  };
  const [a, b] = [await start(), await start()];
  await a.add();
  await a.todo.setContract({ ...contract(), retention: { states: "1d" } });
  return { a, b, clock };
}

test("what was collected here comes again from the bucket, when another machine puts it anew", async () => {
  const { a, b, clock } = await two();
  const large = noise(3, 200_000);
  await put(a.todo, { "/small": "will be dropped", "/large": large });
  await put(a.todo, { "/small": null, "/large": null });
  await a.syncAll();
  await b.syncAll();
  await a.syncAll();
  clock.tick(2 * DAY);
  await put(a.todo, { "/a": "1" });
  expect((await a.todo.retention.collect(true)).commits.dropped).toBeGreaterThan(0);
  // The bucket has the bytes: they are not sent again.
  await put(b.todo, { "/again": "will be dropped", "/large/again": large });
  await b.syncAll();
  await a.syncAll();
  await b.syncAll();
  const expected = { "/a": "1", "/again": "will be dropped", "/large/again": large.toString("utf8") };
  for (const { todo } of [a, b]) {
    expect(await contents(todo)).toEqual(expected);
    expect((await todo.verify()).damage).toEqual([]);
  }
});

test("a push that would need what was dropped says so, and a bucket that has it goes on", async () => {
  const { a, clock } = await two();
  await put(a.todo, { "/a": "old" });
  await put(a.todo, { "/a": "new" });
  await a.syncAll();
  clock.tick(2 * DAY);
  await put(a.todo, { "/a": "newer" });
  await a.todo.retention.collect(true);
  await a.syncAll();
  await a.sync.init(await tempBucket());
  const { error } = await a.push();
  expect(error).toMatchObject({ code: "pruned", details: { remedy: expect.stringContaining("--undo") as unknown } });
});

test("after a forget the bytes are in no file of the bucket, as soon as every machine has taken that over", async () => {
  const { a, b } = await two();
  const keys = ["/before", "/after"];
  await put(a.todo, { "/before": "was in the bucket already" });
  await a.syncAll();
  await b.syncAll();
  await put(a.todo, { "/after": "was not pushed yet" });
  for (const key of keys) await a.todo.retention.forget({ key: key as never, isPrefix: false }, true);
  expect(await a.sync.erasedInBucket(TODO)).toEqual([
    expect.stringContaining("1 packs in the bucket hold values that were erased"),
  ]);
  const left = async (): Promise<number> => (await filesWith(a, "was in the bucket already")).length;
  expect(await left()).toBe(1);
  await a.syncAll();
  // B's head names the pack that holds it: a machine that is away must find what it stands on.
  expect(await left()).toBe(1);
  expect((await a.sync.status()).agents[0]?.notes.join()).toContain(
    "1 packs that hold erased values are still in the bucket",
  );
  await b.syncAll();
  await b.todo.retention.settle();
  await a.syncAll();
  expect(await left()).toBe(0);
  expect(await filesWith(a, "was not pushed yet")).toEqual([]);
  expect(await a.sync.erasedInBucket(TODO)).toEqual([]);
  const c = await Machine.start<StateEngine>({ make: engineOf(new TestClock()) });
  await c.sync.init(a.sync.bucket as string);
  await c.syncAll();
  for (const { todo } of [a, b, c]) {
    for (const key of keys) {
      const { hash, size } = (await (await todo.stateOf()).get("kv", key as never)) as never;
      await expect(todo.requiredValue(hash, size)).rejects.toMatchObject({ code: "erased" });
    }
    expect((await todo.verify()).damage).toEqual([]);
  }
});
