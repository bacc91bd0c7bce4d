import { expect, onTestFinished, test, vi } from "vitest";
import { report } from "../../../test/harness/hub/request-log.ts";
import { IS_LONG } from "../../../test/harness/long.ts";
import type { HubServer } from "../../../test/harness/hub/server.ts";
import { type Hub, startHub, TOKEN, URI } from "./hub.ts";
import { Machine } from "./machine.ts";
import { noise } from "./noise.ts";
import { wrapped } from "./wrapped-bucket.ts";

interface Pair extends Pick<Hub, "open"> {
  readonly server: HubServer;
  readonly a: Machine;
  readonly b: Machine;
}

/** For `openBucket` as the daemon calls it. */
async function hub(): Promise<Hub> {
  const started = await startHub();
  const { server } = started;
  vi.stubEnv("HF_TOKEN", TOKEN);
  vi.stubEnv("HF_ENDPOINT", server.url);
  onTestFinished(() => void vi.unstubAllEnvs());
  return started;
}

/** Two machines with one memory at the Hub; the first has the agent. */
async function pair(): Promise<Pair> {
  const { open, server } = await hub();
  const [a, b] = [await Machine.start(), await Machine.start()];
  await a.sync.init(URI);
  await b.sync.init(URI);
  await a.add();
  return { open, server, a, b };
}

function taken({ server }: Pair): { up: number; down: number; requests: number } {
  return report(server.log.take()).at(-1) as { up: number; down: number; requests: number };
}

test("two machines with one memory: pushes and pulls carry what changed and little else", async () => {
  const both = await pair();
  const { a, b } = both;
  a.todo.put("/base", noise(1, 1 << 20));
  await a.push();
  await b.pull();
  expect(b.todo.contents()).toEqual(a.todo.contents());

  taken(both);
  a.todo.put("/small", "changed");
  await a.push();
  const push = taken(both);
  expect(push.up).toBeLessThan(32 * 1024);
  await b.pull();
  const pull = taken(both);
  expect(pull.down).toBeLessThan(32 * 1024);
  expect(b.todo.contents()).toEqual(a.todo.contents());

  a.todo.put("/large", noise(2, 1 << 20));
  await a.push();
  expect(taken(both).up).toBeLessThan(1.1 * (1 << 20));
  await b.pull();
  expect(taken(both).down).toBeLessThan(1.1 * (1 << 20));

  await a.push();
  expect(taken(both).up).toBeLessThan(4096);
});

test("machines that wrote apart come together", async () => {
  const { a, b } = await pair();
  a.todo.put("/a", "1");
  await a.syncAll();
  await b.syncAll();
  a.todo.put("/a", "2");
  b.todo.put("/b", "3");
  await a.syncAll();
  await b.syncAll();
  await a.syncAll();
  for (const { todo } of [a, b]) expect(todo.contents()).toEqual({ "/a": "2", "/b": "3" });
});

test("whatever fails on the way, nothing is lost, and the next sync goes on there", async () => {
  const { open, server, a, b } = await pair();
  // With short pauses.
  const [forA, forB] = [await open(), await open()];
  // One bucket for a push and pull after another, each of which closes what it was given.
  a.wrap = () => wrapped(forA, { close: () => Promise.resolve() });
  b.wrap = () => wrapped(forB, { close: () => Promise.resolve() });
  a.todo.put("/n", "0");
  await a.syncAll();
  await b.syncAll();
  const all = [
    ["POST batch", { kind: "lost" }],
    ["GET xorb ranges", { kind: "corrupt" }],
    ["POST shards", { kind: "status", status: 503 }],
    ["POST batch", { kind: "status", status: 429, headers: { "Retry-After": "3600" } }],
    ["POST paths-info", { kind: "status", status: 403 }],
    ["GET tree", { kind: "status", status: 503, headers: { "Retry-After": "3600" } }],
    ["GET resolve", { kind: "status", status: 404 }],
  ] as const;
  const faults = IS_LONG ? all : all.slice(0, 3);
  for (const [i, [route, fault]] of faults.entries()) {
    const [writer, reader] = i % 2 === 0 ? [a, b] : [b, a];
    writer.todo.put("/n", `${i}`);
    // Each step of its own kind, at its second call: so that some of the sync has happened by then.
    const injection = server.faults.inject(route, fault, { at: 2, times: 6 });
    await Promise.allSettled([writer.syncAll()]);
    await Promise.allSettled([reader.syncAll()]);
    expect(injection.fired, route).toBeGreaterThan(0);
    server.faults.clear();
    await writer.syncAll();
    await reader.syncAll();
    expect(reader.todo.contents(), route).toEqual({ "/n": `${i}` });
  }
});

test("of two that init at once, one makes the vault and the other joins it", async () => {
  await hub();
  const both = [await Machine.start(), await Machine.start()];
  const made = await Promise.all(both.map((machine) => machine.sync.init(URI)));
  expect(new Set(made.map(({ vault }) => vault)).size).toBe(1);
});
