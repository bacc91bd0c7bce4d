import { type Client, serve, type Server, type Turn, type Vlinder } from "@vlinder/agent-runtime";
import type { AgentName, Progress } from "@vlinder/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { headOf } from "./harness/reading.ts";
import { newStage } from "./harness/stage.ts";

const stage = newStage();
const AGENT = "story" as AgentName;
let admin: Client;
let story: Vlinder;
let home = "";
const servers: Server[] = [];

beforeAll(async () => {
  const daemon = await stage.daemon();
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

test("nobody serves: said with a remedy, and the turn is not left open", async () => {
  const asked = admin.request(AGENT, "run", { input: "x" }, { timeout: 30_000 });
  await expect(asked).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringContaining("no process of the agent"),
  });
  const { items } = await admin.request(AGENT, "session.list", { limit: 1 });
  expect(items[0]?.last.kind).toBe("failed");
}, 40_000);

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
