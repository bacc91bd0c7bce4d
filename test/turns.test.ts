import { setTimeout as sleep } from "node:timers/promises";
import { type Client, serve, type Server, type Turn, type Vlinder } from "@vlinder/agent-runtime";
import {
  type AgentName,
  agentSubject,
  decodeBody,
  encodeBody,
  type Progress,
  PROGRESS_HEADER,
} from "@vlinder/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { headOf } from "./harness/reading.ts";
import { newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";

const stage = newStage();
const AGENT = "story" as AgentName;
let daemon: TestDaemon;
let admin: Client;
let story: Vlinder;
let home = "";
const servers: Server[] = [];

beforeAll(async () => {
  daemon = await stage.daemon();
  admin = await stage.admin(daemon);
  await stage.register(daemon, AGENT);
  story = await stage.sdk(daemon, AGENT);
  home = daemon.home;
});
afterAll(async () => {
  for (const server of servers) await server.close();
});

async function serving(run: (turn: Turn) => unknown): Promise<Server> {
  const server = await serve(AGENT, run as (turn: Turn) => Promise<string>, { home, onError: () => {} });
  servers.push(server);
  return server;
}

async function ended(server: Server): Promise<void> {
  servers.splice(servers.indexOf(server), 1);
  await server.close();
}

function text(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : new TextDecoder().decode(bytes);
}

test("a turn by hand: what it writes is one story that ends in the branch", async () => {
  const turn = await story.begin({ input: "add milk", session: "s-shopping" });
  await turn.kv.put("/list", "milk");
  expect((await turn.kv.get("/list"))?.text()).toBe("milk");
  expect(await story.kv.get("/list")).toBeNull();
  const { state, commit, head, merged } = await turn.complete("done");
  expect([head, merged]).toEqual([commit, false]);
  expect((await story.kv.get("/list"))?.text()).toBe("milk");
  const { items } = await admin.request(AGENT, "timeline.log", { limit: 3 });
  expect(items.map(({ event }) => event.kind)).toEqual(["complete", "kv.put", "invoke"]);
  expect(items.map((item) => [item.turn, item.session])).toEqual(Array(3).fill([turn.id, "s-shopping"]));
  expect(items[0]?.event.info).toEqual({ state });
  await expect(turn.kv.put("/list", "late")).rejects.toMatchObject({ code: "not_found" });
});

test("run calls the agent's function, streams what it emits, and answers with its output", async () => {
  const server = await serving(async (turn) => {
    await turn.emit("thinking…");
    const before = await turn.history();
    await turn.kv.put("/last", turn.input);
    return `${before.map(({ input, output }) => `${input}→${output}`).join(" ")} you said ${turn.input}`;
  });
  const heard: Progress[] = [];
  const first = await admin.request(
    AGENT,
    "run",
    { input: "hello" },
    { onProgress: (progress) => heard.push(progress) },
  );
  expect(first).toMatchObject({ kind: "completed", merged: false, reason: null, kept: null });
  expect(text(first.output)).toBe(" you said hello");
  expect(heard.filter(({ what }) => what === "output").map((progress) => progress.text)).toEqual(["thinking…"]);
  expect(heard[0]).toMatchObject({ what: "turn", text: first.turn });
  const parts: string[] = [];
  const second = await story.run("again", { session: first.session, onOutput: (part) => parts.push(part) });
  expect(parts).toEqual(["thinking…"]);
  expect(text(second.output)).toBe("hello→ you said hello you said again");
  expect(await headOf(admin, AGENT)).toBe(second.head);

  const sessions = await admin.request(AGENT, "session.list", {});
  expect(sessions.items[0]).toMatchObject({
    session: first.session,
    turns: 2,
    last: { turn: second.turn, kind: "completed" },
  });
  const { items } = await admin.request(AGENT, "session.get", { session: first.session });
  expect(
    items.map(({ turn, kind, input, output }) => [turn, kind, text(input?.value ?? null), text(output?.value ?? null)]),
  ).toEqual([
    [first.turn, "completed", "hello", " you said hello"],
    [second.turn, "completed", "again", "hello→ you said hello you said again"],
  ]);
  await ended(server);
});

test("a function that throws fails its turn, and nothing is moved", async () => {
  const server = await serving(async (turn) => {
    await turn.kv.put("/last", "wrong");
    throw new Error("the model gave up");
  });
  const before = await headOf(admin, AGENT);
  const reply = await admin.request(AGENT, "run", { input: "x" });
  expect(reply).toMatchObject({ kind: "failed", reason: "the model gave up", kept: `turn/${reply.turn}`, head: null });
  expect(await headOf(admin, AGENT)).toBe(before);
  expect((await story.branch(`turn/${reply.turn}`).kv.get("/last"))?.text()).toBe("wrong");
  await ended(server);
});

test("agent.toml says how long a turn may take", async () => {
  const daemon = await stage.daemon();
  const declares = 'object_storage = "sqlite://objects.db"\n[limits]\nturn = "1s"\n';
  await stage.register(daemon, "hasty", declares);
  const hasty = await stage.sdk(daemon, "hasty");
  const turn = await hasty.begin({ input: "x" });
  await expect
    .poll(
      () =>
        turn.kv.put("/k", "v").then(
          () => null,
          (error: { code: string }) => error.code,
        ),
      { timeout: 10_000 },
    )
    .toBe("not_found");
  const patient = await hasty.begin({ input: "x", limit: 60 });
  await new Promise((resolve) => setTimeout(resolve, 1200));
  await patient.kv.put("/k", "v");
  await patient.complete();
});

test("nobody serves: said with a remedy before the limit is over, and the turn is not left open", async () => {
  const started = performance.now();
  await expect(admin.request(AGENT, "run", { input: "x", limit: 1 })).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringContaining("no process of the agent"),
    remedy: expect.stringContaining("start it"),
  });
  expect(performance.now() - started).toBeLessThan(5000);
  const { items } = await admin.request(AGENT, "session.list", { limit: 1 });
  expect(items[0]?.last).toMatchObject({ kind: "failed" });
});

test("a run may take longer than a request: signs of life keep it", async () => {
  let turns = 0;
  const server = await serving(async () => {
    turns++;
    await sleep(7000);
    return "at last";
  });
  const impatient = await stage.client({ home, timeout: 4500, retries: 0 });
  const heard: string[] = [];
  const onProgress = ({ what }: Progress): void => void heard.push(what);
  const reply = await impatient.request(AGENT, "run", {}, { onProgress });
  expect([text(reply.output), turns]).toEqual(["at last", 1]);
  expect(heard).toEqual(["turn", "running", "running"]);
  await ended(server);
});

test("a session is there as soon as its first turn has begun", async () => {
  const { id, session } = await story.begin({ input: "hello" });
  const { items } = await admin.request(AGENT, "session.get", { session });
  expect(items).toMatchObject([{ turn: id, kind: "open" }]);
  const next = await story.begin({ input: "hello" });
  const sessions = await admin.request(AGENT, "session.list", {});
  expect(sessions.items.map((item) => item.session)).toContain(next.session);
  for (const one of [id, next.id]) await admin.request(AGENT, "turn.fail", { turn: one, reason: "enough" });
});

test("session.get says how many turns there are, whatever of them is asked for", async () => {
  for (const input of ["1", "2", "3"]) await (await story.begin({ input, session: "s-three" })).complete();
  const { turns, items } = await admin.request(AGENT, "session.get", { session: "s-three", limit: 2 });
  expect([turns, items.map(({ input }) => text(input?.value ?? null))]).toEqual([3, ["2", "3"]]);
});

test("a long part comes whole, in messages that fit, and whole characters", async () => {
  const long = `${"\u0001".repeat(131_071)}😀${"\n".repeat(200_000)}`;
  const server = await serving((turn) => turn.emit(long));
  const wire = await stage.wire(daemon);
  const inbox = "_INBOX.admin.parts";
  const parts: string[] = [];
  const reply = new Promise<string | undefined>((resolve) => {
    wire.subscribe(inbox, {
      callback: (_error, { headers, data }) => {
        const body = decodeBody(data) as { what?: string; text?: string; kind?: string };
        if (headers?.has(PROGRESS_HEADER) !== true) resolve(body.kind);
        else if (body.what === "output") parts.push(body.text ?? "");
      },
    });
  });
  wire.publish(agentSubject(AGENT, "run"), encodeBody({ progress: true }, "json"), { reply: inbox });
  expect(await reply).toBe("completed");
  expect(parts.length).toBeGreaterThan(1);
  expect(parts.join("") === long).toBe(true);
  await ended(server);
});

test("a daemon that stops ends the turns that somebody waits for, and tells them", async () => {
  const other = await stage.daemon();
  await stage.register(other, AGENT);
  const server = await serve(AGENT, ({ signal }) => new Promise((_, no) => signal.addEventListener("abort", no)), {
    home: other.home,
    onError: () => {},
  });
  const client = await stage.client({ home: other.home, retries: 0 });
  let begun = (): void => {};
  const running = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const reply = client.request(AGENT, "run", {}, { onProgress: begun });
  await running;
  const started = performance.now();
  await other.stop();
  expect(await reply).toMatchObject({ kind: "failed", reason: "the daemon was stopped" });
  expect(performance.now() - started).toBeLessThan(5000);
  await server.close();
});

test("a turn that is cancelled aborts the function's signal", async () => {
  let aborted: unknown;
  const server = await serving(async (turn) => {
    await new Promise((resolve) => turn.signal.addEventListener("abort", resolve));
    aborted = turn.signal.reason;
  });
  let turn = "";
  const onProgress = ({ what, text: id = "" }: Progress): void => {
    if (what !== "turn" || turn !== "") return;
    turn = id;
    setTimeout(() => void admin.request(AGENT, "turn.fail", { turn: id, reason: "cancelled" }), 200);
  };
  const reply = await admin.request(AGENT, "run", { input: "x" }, { onProgress });
  expect(reply).toMatchObject({ kind: "failed", reason: "cancelled", turn });
  await expect.poll(() => aborted).toMatchObject({ code: "conflict", message: "cancelled" });
  await ended(server);
});

test("each turn goes to one of several processes, and all run side by side", async () => {
  const seen: string[] = [];
  const servers = await Promise.all(
    [0, 1].map((n) =>
      serving(async (turn) => {
        seen.push(turn.id);
        await turn.kv.put(`/side/${turn.input}`, `${n}`);
      }),
    ),
  );
  const replies = await Promise.all(
    Array.from({ length: 20 }, (_, i) => admin.request(AGENT, "run", { input: `${i}` })),
  );
  expect(replies.map(({ kind }) => kind)).toEqual(Array(20).fill("completed"));
  expect(new Set(seen).size).toBe(20);
  expect(seen).toHaveLength(20);
  expect((await story.kv.page({ prefix: "/side/" })).items).toHaveLength(20);
  for (const server of servers) await ended(server);
});
