import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import type { AgentName } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { Load } from "./harness/load.ts";
import { endAll, freePort, processesWith, until } from "./harness/processes.ts";
import { allCommits, allKeys } from "./harness/reading.ts";
import { newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";
import { ask } from "./harness/wire.ts";

const stage = newStage();
const AGENT = "load" as AgentName;

async function start(): Promise<TestDaemon> {
  const daemon = await stage.newDaemon();
  await daemon.configure("", await freePort());
  await daemon.start();
  await stage.register(daemon, AGENT, 'object_storage = "sqlite://objects.db"\n');
  return daemon;
}

test("SIGTERM during a load: what was accepted is answered, and the exit code is 0", async () => {
  const daemon = await start();
  const wires = await Promise.all([1, 2, 3].map(() => stage.wire(daemon, AGENT)));
  const acknowledged = new Set<string>();
  // Without the SDK nothing is tried again: a request that was accepted and not answered would show.
  const unanswered: string[] = [];
  let refused = 0;
  let stop = false;
  const workers = wires.flatMap((wire, w) =>
    Array.from({ length: 16 }, async (_, i) => {
      for (let n = 0; !stop; n++) {
        const key = `/${w}/${i}/${n}`;
        try {
          const { error } = await ask(wire, "vlinder.v1.load.kv.put", { key, value: key }, 5_000);
          if (error === null) acknowledged.add(key);
        } catch (error) {
          const { code } = error as { code?: string };
          // 503: nobody listens any more, so it was never accepted.
          if (code === "503") refused++;
          else unanswered.push(key);
          return;
        }
      }
    }),
  );
  await until("puts are answered", () => acknowledged.size > 100);
  const code = await daemon.stop();
  stop = true;
  await Promise.all(workers);
  expect(code).toBe(0);
  expect(processesWith(daemon.home)).toEqual([]);

  await daemon.start();
  const admin = await stage.admin(daemon);
  const there = new Set((await allKeys(admin, AGENT)).map(({ key }) => key));
  expect([...acknowledged].filter((key) => !there.has(key))).toEqual([]);
  // Those the server dropped on its way down were not done either: done means answered.
  expect([...there].filter((key) => !acknowledged.has(key))).toEqual([]);
  expect(refused + unanswered.length).toBeGreaterThan(0);
});

test("after `drain` the daemon exits with 0 by itself, and nothing of it is left", async () => {
  const daemon = await start();
  const [client] = [await stage.sdk(daemon, AGENT)];
  const puts = Array.from({ length: 200 }, (_, i) => client.kv.put(`/${i}`, "x"));
  const draining = (await stage.admin(daemon)).admin("daemon.drain");
  await Promise.all(puts);
  expect(await draining).toEqual({ draining: true });
  expect(await daemon.exited()).toBe(0);
  expect(processesWith(daemon.home)).toEqual([]);
  await daemon.start();
  expect(await allKeys(await stage.admin(daemon), AGENT)).toHaveLength(200);
});

test("a start that fails ends, also when agents are open already, and the next one works", async () => {
  const daemon = await start();
  await daemon.stop();
  const file = path.join(daemon.home, "sync", "devices.json");
  const whole = await readFile(file);
  await writeFile(file, "{");
  await expect(daemon.start()).rejects.toThrow(/ended with 1/);
  await writeFile(file, whole);
  await daemon.start();
  expect(await daemon.stop()).toBe(0);
});

test("SIGTERM while it starts leaves no nats-server behind", async () => {
  const daemon = await stage.newDaemon();
  await daemon.configure("", await freePort());
  const starting = daemon.start().then(
    () => "ready",
    () => "ended before it was ready",
  );
  await until("its nats-server runs", () => processesWith(daemon.home).length > 0);
  expect(await daemon.stop()).toBe(0);
  await starting;
  expect(processesWith(daemon.home)).toEqual([]);
});

test("a nats-server that is killed under the daemon comes back, and clients go on", async () => {
  const daemon = await start();
  const clients = await Promise.all([
    stage.sdk(daemon, AGENT, { retries: 20 }),
    stage.sdk(daemon, AGENT, { retries: 20 }),
  ]);
  const load = new Load(clients, 16);
  await load.more(100);
  for (let kill = 0; kill < 2; kill++) {
    const pid = daemon.natsPid;
    if (pid === null) throw new Error("no nats-server runs");
    endAll([pid]);
    await until("another nats-server runs", () => daemon.natsPid !== pid && daemon.natsPid !== null);
    await load.more(100);
  }
  await load.stop();
  expect(load.failures).toEqual([]);
  const admin = await stage.admin(daemon);
  const keys = await allKeys(admin, AGENT);
  expect(keys.length).toBe(load.acknowledged.size);
  const puts = (await allCommits(admin, AGENT)).filter(({ event }) => event.kind === "kv.put");
  expect(puts.length).toBe(keys.length);
  expect(processesWith(daemon.home)).toEqual([daemon.natsPid]);
  expect(await daemon.stop()).toBe(0);
});
