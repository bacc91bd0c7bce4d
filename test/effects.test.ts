import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type Client, serve, type Vlinder } from "@vlinder/agent-runtime";
import { type AgentName, VlinderError } from "@vlinder/protocol";
import { beforeAll, expect, test } from "vitest";
import { freePort, until } from "./harness/processes.ts";
import { newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";
import { ask } from "./harness/wire.ts";

const stage = newStage();
const AGENT = "shop" as AgentName;
let daemon: TestDaemon;
let admin: Client;
let shop: Vlinder;
/** The outside world: a line for each thing that really happened. */
let world = "";

beforeAll(async () => {
  daemon = await stage.newDaemon();
  await daemon.configure("", await freePort());
  await daemon.start();
  await stage.register(daemon, AGENT);
  admin = await stage.client({ home: daemon.home, retries: 30 });
  shop = await stage.sdk(daemon, AGENT, { retries: 30 });
  world = await stage.path("world");
  await writeFile(world, "");
});

async function happened(what: string): Promise<number> {
  return (await readFile(world, "utf8")).split("\n").filter((line) => line === what).length;
}

const happens = (what: string): Promise<void> => appendFile(world, `${what}\n`);

async function restart(): Promise<void> {
  await daemon.kill();
  await daemon.start();
}

async function statusOf(key: string): Promise<string[]> {
  return (await admin.request(AGENT, "effect.list", { key })).items.map(({ status }) => status);
}

async function effectOf(key: string): Promise<string> {
  const { items } = await admin.request(AGENT, "effect.list", { key });
  expect(items).toHaveLength(1);
  return items[0]?.effect ?? "";
}

test("an effect runs once: a retry of the turn gets its result as the first run did", async () => {
  const values: unknown[] = [{ id: 7, to: ["ann", null] }, "text", undefined, null, 0, new Uint8Array([0, 255])];
  const first = await shop.begin();
  const ids: string[] = [];
  for (const [i, value] of values.entries()) {
    const got = await first.once(`value-${i}`, async ({ id }) => {
      ids.push(id);
      await happens(`value-${i}`);
      return value;
    });
    expect(got).toEqual(value);
  }
  await first.fail("the model gave up");
  const retry = await shop.begin({ retries: first.id });
  for (const [i, value] of values.entries()) {
    expect(await retry.once(`value-${i}`, () => Promise.reject(new Error("called again")))).toEqual(value);
    expect(await happened(`value-${i}`)).toBe(1);
  }
  // The first run gets what a retry gets.
  const date = await retry.once("date", () => new Date(0) as unknown);
  expect(date).toBe("1970-01-01T00:00:00.000Z");
  await retry.complete();
  expect(new Set(ids).size).toBe(values.length);
  const { items } = await admin.request(AGENT, "effect.list", { turn: first.id, limit: 4 });
  expect(items.map(({ status, turn }) => [status, turn])).toEqual(Array(4).fill(["done", first.id]));
});

test("a run that is retried sends its mail once, through the agent's own process", async () => {
  let fails = true;
  const server = await serve(
    AGENT,
    async (turn) => {
      const receipt = await turn.once("receipt", async () => {
        await happens("receipt");
        return { number: 4711 };
      });
      if (fails) throw new Error("the model gave up");
      return receipt;
    },
    { home: daemon.home, onError: () => {} },
  );
  const failed = await admin.request(AGENT, "run", { input: "buy" });
  expect(failed.kind).toBe("failed");
  fails = false;
  const { output } = await admin.request(AGENT, "run", { input: "buy", retries: failed.turn });
  expect(new TextDecoder().decode(output ?? undefined)).toBe('{"number":4711}');
  expect(await happened("receipt")).toBe(1);
  await server.close();
});

test("kill -9 of the daemon between begin and end: who ran it is still there, and says so", async () => {
  const turn = await shop.begin();
  const result = await turn.once("survives", async () => {
    await happens("survives");
    await restart();
    return "paid";
  });
  expect(result).toBe("paid");
  expect(await statusOf("survives")).toEqual(["done"]);
  const retry = await shop.begin({ retries: turn.id });
  expect(await retry.once("survives", () => Promise.reject(new Error("called again")))).toBe("paid");
  await retry.complete();
});

test("kill -9 of the daemon between the end's durability and its reply: it is said again, and is there once", async () => {
  const turn = await shop.begin();
  const begun = await shop.client.request(AGENT, "effect.begin", { turn: turn.id, key: "twice" });
  if (begun.status !== "run") throw new Error("not run");
  await happens("twice");
  const word = { begun: begun.begun, result: Buffer.from("1") };
  const first = await shop.client.request(AGENT, "effect.end", word);
  await restart();
  expect(await shop.client.request(AGENT, "effect.end", word)).toEqual(first);
  const other = { begun: begun.begun, result: Buffer.from("2") };
  await expect(shop.client.request(AGENT, "effect.end", other)).rejects.toMatchObject({ code: "conflict" });
  const { items } = await admin.request(AGENT, "timeline.log", { from: `turn/${turn.id}`, limit: 10 });
  const kept = items.filter((item) => item.turn === turn.id && item.event.kind === "effect");
  expect(kept.map(({ event }) => event.info?.["status"])).toEqual(["done", "begun"]);
});

/** An agent's process that dies without a word in the middle of an effect, before or after it happened. */
async function diesIn(key: string, when: "before" | "after"): Promise<string> {
  const program = fileURLToPath(new URL("fixtures/agents/dies-in-effect.ts", import.meta.url));
  const child = spawn(process.execPath, [program, AGENT, key, when, world], {
    env: { ...process.env, VLINDER_HOME: daemon.home },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let turn = "";
  child.stdout.on("data", (chunk: Buffer) => (turn += chunk.toString("utf8")));
  const [, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  expect(signal).toBe("SIGKILL");
  return turn.trim();
}

test.each(["before", "after"] as const)(
  "kill -9 of the agent %s it happened, and of the daemon: unknown, until a person says",
  async (when) => {
    const key = `pay-${when}`;
    const turn = await diesIn(key, when);
    expect(await statusOf(key)).toEqual(["running"]);
    await restart();
    expect(await statusOf(key)).toEqual(["unknown"]);

    const retry = await shop.begin({ retries: turn });
    const again = retry.once(key, () => happens(key));
    await expect(again).rejects.toMatchObject({
      code: "conflict",
      details: { key, status: "unknown" },
      remedy: expect.stringContaining(`vlinder effect resolve ${AGENT} e-`),
    });
    await retry.fail("unknown");
    const times = when === "after" ? 1 : 0;
    expect(await happened(key)).toBe(times);

    const effect = await effectOf(key);
    const status = when === "after" ? "done" : "not_done";
    const body = { effect, status, ...(when === "after" ? { result: Buffer.from('"p-1"') } : {}) };
    const resolved = await admin.request(AGENT, "effect.resolve", body);
    expect(resolved).toMatchObject({ effect, key, status });
    const last = await shop.begin({ retries: retry.id });
    const result = await last.once(key, async () => {
      await happens(key);
      return "p-1";
    });
    expect(result).toBe("p-1");
    await last.complete();
    // Once, however it went.
    expect(await happened(key)).toBe(1);
    expect(await statusOf(key)).toEqual(["done"]);
    expect(await admin.request(AGENT, "timeline.verify", {})).toMatchObject({ ok: true });
  },
);

test("an agent that dies alone: its effect is unknown once the turn has ended", async () => {
  const turn = await diesIn("alone", "after");
  await expect(shop.begin({ retries: turn })).rejects.toMatchObject({ code: "conflict", details: { turn } });
  await admin.request(AGENT, "turn.fail", { turn, reason: "its process died" });
  expect(await statusOf("alone")).toEqual(["unknown"]);
});

test("a function that throws says that it did not happen: a retry calls it", async () => {
  const turn = await shop.begin();
  await expect(turn.once("flaky", () => Promise.reject(new Error("no network")))).rejects.toThrow("no network");
  expect(await statusOf("flaky")).toEqual(["failed"]);
  await turn.fail("no network");
  const retry = await shop.begin({ retries: turn.id });
  expect(await retry.once("flaky", () => 1)).toBe(1);
  await retry.complete();
});

test("a result that can't be kept is said to be lost, and the effect is not run again", async () => {
  const turn = await shop.begin();
  const circular: unknown[] = [];
  circular.push(circular);
  const large = "x".repeat(600 * 1024);
  for (const [key, value] of [
    ["circular", circular],
    ["large", large],
    ["function", () => 1],
    ["bigint", 1n],
  ] as const) {
    const lost = { code: "invalid", details: { key, status: "done" } };
    await expect(
      turn.once(key, () => value),
      key,
    ).rejects.toMatchObject(lost);
    const again = turn.once(key, () => Promise.reject(new Error("called again")));
    await expect(again, key).rejects.toMatchObject(lost);
  }
  await turn.fail("lost");
});

test("the same key twice at once is a conflict, and a turn with an effect under way is not completed", async () => {
  const turn = await shop.begin();
  let finish = (): void => {};
  const first = turn.once("slow", () => new Promise<void>((resolve) => (finish = resolve)));
  await until("it runs", async () => (await statusOf("slow"))[0] === "running");
  await expect(turn.once("slow", () => 1)).rejects.toMatchObject({ code: "conflict" });
  await expect(turn.complete()).rejects.toMatchObject({ code: "conflict", details: { key: "slow" } });
  finish();
  await first;
  await turn.complete();
});

test("a person's word is not the agent's to give, and no other agent reaches an effect", async () => {
  await stage.register(daemon, "rival");
  const own = await stage.wire(daemon, AGENT);
  const rival = await stage.wire(daemon, "rival");
  const effect = await effectOf("alone");
  const word = { effect, status: "not_done" };
  await expect(ask(own, `vlinder.v1.${AGENT}.effect.resolve`, word)).rejects.toMatchObject({
    code: "PERMISSIONS_VIOLATION",
  });
  for (const operation of ["effect.begin", "effect.end", "effect.list", "effect.resolve"]) {
    const asked = ask(rival, `vlinder.v1.${AGENT}.${operation}`, {}, 2_000);
    await expect(asked, operation).rejects.toMatchObject({ code: "PERMISSIONS_VIOLATION" });
  }
  // Nor through its own subjects.
  const { items } = await admin.request(AGENT, "effect.list", { key: "alone" });
  const { turn = "", commit = "" } = items[0] ?? {};
  for (const [operation, body] of [
    ["effect.end", { begun: commit }],
    ["effect.begin", { turn, key: "alone" }],
    ["turn.begin", { retries: turn }],
  ] as const) {
    const { error } = await ask(rival, `vlinder.v1.rival.${operation}`, body);
    expect(error?.code, operation).toBe("not_found");
  }
  expect((await ask(rival, "vlinder.v1.rival.effect.list", {})).body).toEqual({ items: [], next: null });
  expect(await statusOf("alone")).toEqual(["unknown"]);
});

test("what is no request is refused, and changes nothing", async () => {
  const wire = await stage.wire(daemon);
  const before = await admin.request(AGENT, "effect.list", { limit: 1000 });
  const effect = await effectOf("alone");
  const begun = "0".repeat(64);
  for (const [operation, body] of [
    ["begin", { turn: "t", key: "" }],
    ["begin", { turn: "t", key: "k".repeat(513) }],
    ["begin", { turn: "t", key: "k", status: "done" }],
    ["end", { begun: "abc" }],
    ["end", { begun, result: "1", error: "x" }],
    ["end", { begun, result: "1", lost: "x" }],
    ["end", { begun, result: "{" }],
    ["end", { begun, result: { base64: "/w==" } }],
    ["end", { begun, form: "bytes" }],
    ["end", { begun, result: "1", form: "text" }],
    ["end", { begun, error: "" }],
    ["list", { status: "any" }],
    ["list", { after: "e-1" }],
    ["resolve", { effect: "e-", status: "done" }],
    ["resolve", { effect: "e-*", status: "done" }],
    ["resolve", { effect, status: "failed" }],
    ["resolve", { effect, status: "not_done", result: "1" }],
    ["resolve", { effect, status: "done", result: "{" }],
  ] as const) {
    const { error } = await ask(wire, `vlinder.v1.${AGENT}.effect.${operation}`, body);
    expect(error?.code, JSON.stringify([operation, body]).slice(0, 100)).toBe("invalid");
  }
  expect(await admin.request(AGENT, "effect.list", { limit: 1000 })).toEqual(before);
});

test("lists go on page by page", async () => {
  const { items } = await admin.request(AGENT, "effect.list", {});
  expect(items.length).toBeGreaterThan(8);
  const found: string[] = [];
  let after: string | null = null;
  do {
    const page: { items: readonly { effect: string }[]; next: string | null } = await admin.request(
      AGENT,
      "effect.list",
      { limit: 3, ...(after === null ? {} : { after }) },
    );
    found.push(...page.items.map(({ effect }) => effect));
    after = page.next;
  } while (after !== null);
  expect(found).toEqual(items.map(({ effect }) => effect));
});

test("an effect that happened and can't be recorded is said to be so", async () => {
  const lonely = await stage.sdk(daemon, AGENT, { retries: 0, timeout: 300 });
  const turn = await lonely.begin();
  const asked = turn.once("offline", async () => {
    await daemon.kill();
    return 1;
  });
  const error = await asked.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(VlinderError);
  expect(error).toMatchObject({
    code: "unavailable",
    retryable: false,
    details: { key: "offline", status: "unknown" },
  });
  await daemon.start();
  expect(await statusOf("offline")).toEqual(["unknown"]);
});
