import type { AgentName, DeviceId } from "@vlinder/protocol";
import { expect, onTestFinished, test } from "vitest";
import { StateEngine } from "../../src/state/engine.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { contents, contract, put, TestClock } from "../state/harness.ts";
import { Machine, tempBucket, TODO } from "./machine.ts";
import { noise } from "./noise.ts";

const DAY = 24 * 3_600_000;

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

test("after a forget the bytes are in no pack that is pushed, and what holds them is owed", async () => {
  const { a, b } = await two();
  await put(a.todo, { "/before": "was in the bucket already" });
  await a.syncAll();
  await put(a.todo, { "/after": "was not pushed yet" });
  for (const key of ["/before", "/after"]) await a.todo.retention.forget({ key: key as never, isPrefix: false }, true);
  expect(await a.sync.erasedInBucket(TODO)).toBe(1);
  await a.syncAll();
  expect((await a.sync.status()).agents[0]?.notes.join()).toContain(
    "1 packs in the bucket hold values that were erased",
  );
  await b.syncAll();
  await b.todo.retention.settle();
  for (const { todo } of [a, b]) {
    for (const key of ["/before", "/after"]) {
      const { hash, size } = (await (await todo.stateOf()).get("kv", key as never)) as never;
      await expect(todo.requiredValue(hash, size)).rejects.toMatchObject({ code: "erased" });
    }
    expect((await todo.verify()).damage).toEqual([]);
  }
});
