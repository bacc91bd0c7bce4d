import type { AgentName, BranchName, DeviceId } from "@vlinder/protocol";
import { describe, expect, onTestFinished, test } from "vitest";
import { StateEngine } from "../../src/state/engine.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { decodePack } from "../../src/sync/pack.ts";
import { listAgent, packPath } from "../../src/sync/listing.ts";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { contents, contract, put } from "../state/harness.ts";
import { FaultyBucket, type Outcome } from "./faulty-bucket.ts";
import { Machine, tempBucket, TODO } from "./machine.ts";
import { dice, noise } from "./noise.ts";
import { IS_LONG } from "../../../test/harness/long.ts";

// The real engine in place of the model: what both promise each other, seen from end to end.

const FIX = "fix" as BranchName;

async function openEngine(agent: string, device: DeviceId): Promise<StateEngine> {
  const storage = new MemoryObjects(`memory://${device}`);
  const engine = await StateEngine.open({ agent: agent as AgentName, storage, device: () => device });
  onTestFinished(() => engine.close());
  return engine;
}

async function machines(count: number): Promise<{ uri: string; all: Machine<StateEngine>[] }> {
  const uri = await tempBucket();
  const all: Machine<StateEngine>[] = [];
  for (let i = 0; i < count; i++) {
    const machine = await Machine.start<StateEngine>({ make: openEngine });
    await machine.sync.init(uri);
    all.push(machine);
  }
  await (all[0] as Machine<StateEngine>).add();
  await (all[0] as Machine<StateEngine>).todo.setContract(contract());
  return { uri, all };
}

async function sameEverywhere(all: readonly Machine<StateEngine>[]): Promise<void> {
  const [first, ...others] = all.map(({ todo }) => todo) as [StateEngine, ...StateEngine[]];
  for (const other of others) {
    const heads = (engine: StateEngine): unknown =>
      Object.fromEntries(engine.liveBranches().map(({ id, head }) => [id, head]));
    expect(heads(other)).toEqual(heads(first));
  }
  for (const { todo } of all) expect((await todo.verify()).damage).toEqual([]);
}

describe("the engine", () => {
  test("a clone has the same commit, contents and contract", async () => {
    const { all } = await machines(2);
    const [a, b] = all as [Machine<StateEngine>, Machine<StateEngine>];
    await put(a.todo, { "/a": "1", "/large": noise(1, 500_000) });
    await put(a.todo, Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`/many/${i}`, `${i}`])));
    await a.todo.fork(FIX, await a.todo.resolve("main"));
    await put(a.todo, { "/fix": "1" }, FIX);
    await a.syncAll();
    await b.syncAll();
    await sameEverywhere(all);
    expect(await contents(b.todo)).toEqual(await contents(a.todo));
    expect(await contents(b.todo, FIX)).toEqual(await contents(a.todo, FIX));
    expect(await b.todo.contract()).toEqual(contract());
  });

  test("diverged machines end on the same commit; a rewind and a deleted branch travel", async () => {
    const { all } = await machines(2);
    const [a, b] = all as [Machine<StateEngine>, Machine<StateEngine>];
    const early = await put(a.todo, { "/a": "early" });
    await a.todo.fork(FIX, await a.todo.resolve("main"));
    await a.syncAll();
    await b.syncAll();
    await put(a.todo, { "/a": "from a", "/own-a": "1" });
    await put(b.todo, { "/a": "from b", "/own-b": "1" });
    for (const machine of [a, b, a, b]) await machine.syncAll();
    await sameEverywhere(all);
    const both = Object.values(await contents(a.todo));
    expect(both).toEqual(expect.arrayContaining(["from a", "from b"]));
    await a.todo.rewind("main" as BranchName, early as never);
    await a.todo.deleteBranch(FIX);
    for (const machine of [a, b]) await machine.syncAll();
    expect(await contents(b.todo)).toEqual({ "/a": "early" });
    expect(b.todo.liveBranches().map(({ name }) => name)).toEqual(["main"]);
  });

  test("a delta carries no tree nodes, the first packs do", async () => {
    const { uri, all } = await machines(1);
    const [a] = all as [Machine<StateEngine>];
    const kinds = async (): Promise<string[]> => {
      const bucket = await openBucket(uri);
      const { packs } = await listAgent(bucket, TODO);
      const found = new Set<string>();
      for (const pack of packs.keys()) {
        const objects = await decodePack((await bucket.get(packPath(TODO, pack))) as Buffer);
        for (const { kind } of objects) found.add(kind);
        await bucket.delete([packPath(TODO, pack)]);
      }
      return [...found].toSorted();
    };
    await put(a.todo, { "/a": "1" });
    await a.push();
    expect(await kinds()).toEqual(["commit", "node", "snapshot", "value"]);
    await a.push();
    const before = new Set((await listAgent(await openBucket(uri), TODO)).packs.keys());
    await put(a.todo, { "/b": "2" });
    const { bytes } = await a.push();
    expect(bytes).toBeLessThan(3000);
    const bucket = await openBucket(uri);
    for (const pack of before) await bucket.delete([packPath(TODO, pack)]);
    expect(await kinds()).toEqual(["commit", "value"]);
  });

  for (const seed of IS_LONG ? [1, 2, 3] : [1]) {
    test(`seed ${seed}: three machines that write at random over a bucket with faults agree at the end`, async () => {
      const roll = dice(seed);
      const { all } = await machines(3);
      await (all[0] as Machine<StateEngine>).syncAll();
      for (const machine of all) await machine.syncAll();
      const outcomes: readonly Outcome[] = ["fail before", "fail after", "kill before", "kill after"];
      let fired = 0;
      const written = new Map<string, string>();
      for (let i = 0; i < 150; i++) {
        const machine = all[roll(3)] as Machine<StateEngine>;
        const what = roll(12);
        if (what < 6) {
          const key = roll(3) === 0 ? "/same" : `/key-${i}`;
          const value = roll(8) === 0 ? noise(i, 100_000).toString("base64") : `value ${i}`;
          await put(machine.todo, { [key]: value });
          if (key !== "/same") written.set(key, value);
        } else if (what === 6 && machine.todo.liveBranches().length < 4) {
          await machine.todo.fork(`fork-${i}` as BranchName, await machine.todo.resolve("main"));
        } else if (what === 7) {
          const other = machine.todo.liveBranches().find(({ name }) => name !== "main");
          if (other !== undefined && roll(2) === 0) await machine.todo.deleteBranch(other.name as BranchName);
          else if (other !== undefined) await put(machine.todo, { [`/on-${i}`]: "x" }, other.name as BranchName);
        } else {
          const at = 1 + roll(8);
          const outcome = outcomes[roll(4)] as Outcome;
          machine.wrap = (bucket) => new FaultyBucket(bucket, ({ n }) => (n === at ? (fired++, outcome) : "fine"));
          await (roll(2) === 0 ? machine.sync.push() : machine.sync.pull()).then(
            () => undefined,
            (error: unknown) => expect(String(error)).toMatch(/injected|killed|dead/),
          );
          machine.wrap = (bucket) => bucket;
          if (outcome.startsWith("kill")) await machine.restart();
        }
      }
      process.stdout.write(`seed ${seed}: ${fired} faults fired\n`);
      expect(fired).toBeGreaterThan(10);
      for (let round = 0; round < 4; round++) for (const machine of all) await machine.syncAll();
      await sameEverywhere(all);
      const end = await contents((all[0] as Machine<StateEngine>).todo);
      for (const [key, value] of written) expect(end[key]).toBe(value);
    });
  }
});
