import { type Client, serve, type Turn, type Vlinder } from "@vlinder/agent-runtime";
import type { AgentName, VlinderError } from "@vlinder/protocol";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { until } from "./harness/processes.ts";
import { headOf } from "./harness/reading.ts";
import { newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";
import { ask } from "./harness/wire.ts";

const stage = newStage();
const AGENT = "runner" as AgentName;
const OTHER = "other" as AgentName;
let daemon: TestDaemon;
let admin: Client;
let runner: Vlinder;

beforeAll(async () => {
  daemon = await stage.daemon();
  admin = await stage.admin(daemon);
  await stage.register(daemon, AGENT);
  await stage.register(daemon, OTHER);
  runner = await stage.sdk(daemon, AGENT);
});

async function serving(run: (turn: Turn) => Promise<string> | string): Promise<void> {
  const server = await serve(AGENT, run, { home: daemon.home, onError: () => {} });
  onTestFinished(() => server.close());
}

const text = (bytes: Uint8Array | null): string => new TextDecoder().decode(bytes ?? new Uint8Array());

test("the same run by one id, at the same time and when it has ended, is one turn with one output", async () => {
  let calls = 0;
  await serving(async (turn) => {
    await turn.kv.put("/calls", `${++calls}`);
    return `call ${calls}`;
  });
  const run = () => admin.request(AGENT, "run", { input: "x", id: "the-run" });
  const [a, b] = await Promise.all([run(), run()]);
  const c = await run();
  expect(calls).toBe(1);
  expect([a, b, c].map(({ turn, kind, output }) => [turn, kind, text(output)])).toEqual(
    Array(3).fill([a.turn, "completed", "call 1"]),
  );
  const other = admin.request(AGENT, "run", { input: "y", id: "the-run" });
  await expect(other).rejects.toMatchObject({ code: "conflict" });
});

test("turns that are announced while they are being taken up are taken up once, and carried through", async () => {
  await serving(() => "done");
  for (let i = 0; i < 100; i++) {
    // Who joins announces it again.
    const run = () => admin.request(AGENT, "run", { id: `again-${i}`, limit: 5 });
    const ended = await Promise.all([run(), run()]);
    expect(ended.map(({ kind }) => kind)).toEqual(["completed", "completed"]);
  }
});

test("a run that nobody takes up, since the agent's process is busy, is told so", async () => {
  const over = Promise.withResolvers<string>();
  const server = await serve(AGENT, () => over.promise, { home: daemon.home, concurrency: 1 });
  onTestFinished(() => server.close());
  let taken = "";
  const first = admin.request(
    AGENT,
    "run",
    { progress: true },
    { onProgress: ({ what, text: id = "" }) => void (what === "turn" && (taken = id)) },
  );
  await until("the first is begun", () => taken !== "");
  const second = admin.request(AGENT, "run", { limit: 2 });
  await expect(second).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringContaining("busy (turns at work: 1)") as string,
    details: { busy: 1 },
  });
  over.resolve("done");
  expect(await first).toMatchObject({ kind: "completed" });
});

test("a run whose caller goes away is carried through", async () => {
  let go = (): void => {};
  const gone = new Promise<void>((resolve) => (go = resolve));
  await serving(async (turn) => {
    await gone;
    await turn.kv.put("/gone", turn.input);
    return "nobody hears it";
  });
  const caller = await stage.client({ home: daemon.home });
  let turn = "";
  const onProgress = ({ what, text: id = "" }: { what: string; text?: string }): void => {
    if (what === "turn") turn = id;
  };
  const asked = caller.request(AGENT, "run", { input: "on its own" }, { onProgress }).catch(() => null);
  await until("it runs", () => turn !== "");
  await caller.close();
  await asked;
  go();
  await until("it is completed", async () => (await runner.kv.get("/gone"))?.text() === "on its own");
});

test("a turn that two processes ask for goes to one; who asks again by its id has it", async () => {
  const turn: { id: string } = { id: "" };
  const onProgress = ({ what, text: id = "" }: { what: string; text?: string }): void => {
    if (what === "turn") turn.id = id;
  };
  const asked = admin.request(AGENT, "run", { input: "x" }, { onProgress });
  await until("it waits", () => turn.id !== "");
  const accept = (id: string) => admin.request(AGENT, "turn.accept", { turn: turn.id, id });
  const answers = await Promise.allSettled([accept("one"), accept("two")]);
  expect(answers.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  const mine = answers[0]?.status === "fulfilled" ? "one" : "two";
  expect(await accept(mine)).toMatchObject({ turn: turn.id });
  await expect(accept("three")).rejects.toMatchObject({ code: "conflict" });
  await admin.request(AGENT, "turn.complete", { turn: turn.id, output: "done" });
  expect(text((await asked).output)).toBe("done");
  await expect(accept(mine)).rejects.toMatchObject({ code: "not_found" });
});

test("a turn is its agent's alone", async () => {
  const turn = await runner.begin();
  await turn.kv.put("/mine", "1");
  const wire = await stage.wire(daemon, OTHER);
  for (const [operation, body] of [
    ["kv.get", { key: "/mine" }],
    ["kv.put", { key: "/mine", value: "stolen" }],
    ["turn.complete", {}],
    ["turn.fail", { reason: "x" }],
    ["turn.accept", {}],
    ["turn.emit", { text: "x" }],
  ] as const) {
    const { error } = await ask(wire, `vlinder.v1.${OTHER}.${operation}`, { ...body, turn: turn.id });
    expect([operation, error?.code]).toEqual([operation, "not_found"]);
  }
  expect(await turn.complete()).toMatchObject({ merged: false });
});

test("writes that are on their way as the turn ends are part of it, or refused", async () => {
  for (let round = 0; round < 10; round++) {
    const turn = await runner.begin();
    const writes = Array.from({ length: 30 }, (_, i) => turn.kv.put(`/flight/${round}/${i}`, `${i}`));
    const completed = turn.complete();
    const answers = await Promise.allSettled(writes);
    await completed;
    const { items } = await admin.request(AGENT, "kv.list", { prefix: `/flight/${round}/`, limit: 100 });
    const there = new Set<string>(items.map(({ key }) => key));
    for (const [i, answer] of answers.entries()) {
      expect(there.has(`/flight/${round}/${i}`)).toBe(answer.status === "fulfilled");
      if (answer.status === "rejected") {
        expect(["conflict", "not_found"]).toContain((answer.reason as VlinderError).code);
      }
    }
  }
});

test("a search in a turn finds its own vectors, and nobody else's search does before it is completed", async () => {
  await runner.vectors.put("/v/there", [1, 0, 0]);
  const turn = await runner.begin();
  // Found while they are on their way to the storage.
  const puts = Array.from({ length: 20 }, (_, i) => turn.vectors.put(`/v/own/${i}`, [0, 1, i]));
  await puts[0];
  await Promise.all([...puts, turn.vectors.search([0, 1, 0], { limit: 30 })]);
  await turn.vectors.delete("/v/there");
  const own = (await turn.vectors.search([0, 1, 0], { limit: 30 })).map(({ key }) => key);
  expect(own).toHaveLength(20);
  expect(own).not.toContain("/v/there");
  const found = async (): Promise<string[]> =>
    (await runner.vectors.search([0, 1, 0], { limit: 30, prefix: "/v/" })).map(({ key }) => key);
  expect(await found()).toEqual(["/v/there"]);
  await turn.complete();
  expect((await found()).sort()).toEqual(own.sort());
});

test("odd ids are answered as ids that are not known", async () => {
  const before = await headOf(admin, AGENT);
  for (const turn of ["__proto__", "../x", "t-*.>", "\u0000\n", "ü".repeat(128)]) {
    await expect(admin.request(AGENT, "turn.complete", { turn })).rejects.toMatchObject({ code: "not_found" });
    await expect(admin.request(AGENT, "kv.get", { key: "/a", turn })).rejects.toMatchObject({ code: "not_found" });
  }
  const invalid = admin.request(AGENT, "turn.complete", { turn: "x".repeat(129) });
  await expect(invalid).rejects.toMatchObject({ code: "invalid" });
  const odd = await admin.request(AGENT, "turn.begin", { session: "\u0000 > * ü" });
  expect(await admin.request(AGENT, "turn.fail", { turn: odd.turn, reason: "x" })).toMatchObject({
    branch: `turn/${odd.turn}`,
  });
  expect(await headOf(admin, AGENT)).toBe(before);
});
