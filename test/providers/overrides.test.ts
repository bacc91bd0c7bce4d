import { type Client, StoredValue, serve, type Vlinder } from "@vlinder/agent-runtime";
import type { AgentName, CommitItem } from "@vlinder/protocol";
import OpenAI from "openai";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { anthropic } from "../harness/providers/anthropic.ts";
import { BehindDaemon } from "../harness/providers/behind-daemon.ts";
import { ModelServer } from "../harness/providers/model-server.ts";
import { openai } from "../harness/providers/openai.ts";
import { openrouter, OPENROUTER_MODEL } from "../harness/providers/openrouter.ts";
import { commandLine } from "../harness/command-line.ts";
import { allCommits, headOf } from "../harness/reading.ts";
import { newStage } from "../harness/stage.ts";
import { ask } from "../harness/wire.ts";

const stage = newStage();
const MODEL = "gpt-4.1-mini";
const BODY = { messages: [{ role: "user" as const, content: "which model" }], temperature: 0.5, seed: 7 };
let behind: BehindDaemon;
let admin: Client;
let own: ModelServer;
let other: ModelServer;
let foreign: ModelServer;
/** The agent, and the provider that it declares. */
let agent: AgentName;
/** Providers that it does not declare: one speaks its protocol, one does not. */
let router: string;
let claude: string;
let vlinder: Vlinder;

beforeAll(async () => {
  behind = await BehindDaemon.start(stage);
  admin = await stage.admin(behind.daemon);
  own = await ModelServer.start(openai("own-key"));
  other = await ModelServer.start(openrouter("other-key"));
  foreign = await ModelServer.start(anthropic("foreign-key"));
  agent = (await behind.agentFor(own, "own-key")) as AgentName;
  router = await behind.agentFor(other, "other-key");
  claude = await behind.agentFor(foreign, "foreign-key");
  vlinder = await stage.sdk(behind.daemon, agent);
  const answer = async (turn: { fetch: typeof fetch }): Promise<string> => {
    const client = new OpenAI({ apiKey: "no-key", fetch: turn.fetch, maxRetries: 0 });
    const done = await client.chat.completions.create({ model: MODEL, ...BODY });
    return `${done.model}: ${done.choices[0]?.message.content}`;
  };
  const server = await serve(agent, answer, { home: behind.daemon.home, onError: () => {} });
  closing = () => server.close();
});
let closing = (): Promise<void> => Promise.resolve();

afterEach(() => {
  for (const server of [own, other, foreign]) server.settle();
});
afterAll(async () => {
  await closing();
  for (const server of [own, other, foreign]) await server.close();
});

async function commitsOf(turn: string): Promise<CommitItem[]> {
  return (await allCommits(admin, agent)).filter((one) => one.turn === turn).reverse();
}

const text = (bytes: Uint8Array | null): string => Buffer.from(bytes ?? []).toString();

describe("an agent", () => {
  test.each(["run", "turn.begin"] as const)("can't choose by %s what it does not declare", async (operation) => {
    const head = await headOf(admin, agent);
    const asked = (more: object) => vlinder.client.request(agent, operation, more);
    await expect(asked({ provider: router })).rejects.toMatchObject({
      code: "not_declared",
      details: { agent, provider: router },
    });
    await expect(asked({ provider: "nobody" })).rejects.toMatchObject({ code: "not_declared" });
    await expect(asked({ model: OPENROUTER_MODEL })).rejects.toMatchObject({
      code: "not_declared",
      details: { model: OPENROUTER_MODEL },
    });
    await expect(asked({ provider: agent, model: OPENROUTER_MODEL })).rejects.toMatchObject({ code: "not_declared" });
    // Of another service: an embedder is no model to infer with.
    await expect(asked({ model: "text-embedding-3-small" })).rejects.toMatchObject({ code: "not_declared" });
    expect(await headOf(admin, agent)).toBe(head);
    expect([own, other, foreign].flatMap(({ requests }) => requests)).toEqual([]);
  });

  test.each(["run.override", "turn.replay"])("may not publish on %s", async (operation) => {
    const wire = await stage.wire(behind.daemon, agent);
    const subject = `vlinder.v1.${agent}.${operation}`;
    const body = {
      provider: router,
      model: OPENROUTER_MODEL,
      ...(operation === "run.override" ? {} : { turn: "t-1" }),
    };
    await expect(ask(wire, subject, body, 2_000)).rejects.toMatchObject({ code: "PERMISSIONS_VIOLATION" });
    // Nor without waiting for an answer, to whatever comes of it.
    const refused = (async () => {
      for await (const { type, data } of wire.status()) if (type === "error") return data;
      return null;
    })();
    wire.publish(subject, Buffer.from(JSON.stringify(body)));
    expect(await refused).toBe("PERMISSIONS_VIOLATION");
    // Nor by the SDK, nor in another agent's name.
    await expect(vlinder.client.request(agent, "run.override", { provider: router })).rejects.toMatchObject({
      code: "denied",
    });
    await expect(ask(wire, `vlinder.v1.${router}.${operation}`, body, 2_000)).rejects.toMatchObject({
      code: "PERMISSIONS_VIOLATION",
    });
    expect([own, other, foreign].flatMap(({ requests }) => requests)).toEqual([]);
  });

  test("may choose among what it declares", async () => {
    const { kind, output, turn } = await vlinder.client.request(agent, "run", { provider: agent, model: MODEL });
    expect([kind, text(output)]).toEqual(["completed", `${MODEL}: echo: which model`]);
    expect((await commitsOf(turn))[0]?.event).toMatchObject({
      kind: "invoke",
      info: { provider: agent, model: MODEL },
    });
    expect(own.requests).toHaveLength(1);
  });
});

describe("an administrator", () => {
  test("has a turn ask another provider for another model, and it is recorded as it was", async () => {
    const choice = { provider: router, model: OPENROUTER_MODEL };
    const { kind, output, turn } = await admin.request(agent, "run.override", choice);
    expect([kind, text(output)]).toEqual(["completed", `${OPENROUTER_MODEL}: echo: which model`]);
    expect(own.requests).toEqual([]);
    // The rest of the body is the agent's, the key the other provider's.
    expect(JSON.parse(other.request.body)).toEqual({ model: OPENROUTER_MODEL, ...BODY });
    expect(other.request.headers.authorization).toBe("Bearer other-key");
    const [invoke, call] = (await commitsOf(turn)) as [CommitItem, CommitItem];
    expect(invoke.event).toMatchObject({ kind: "invoke", info: choice });
    expect(call.event).toMatchObject({
      kind: "call",
      info: { ...choice, status: 200, tokens: { input: 2, output: 3 } },
    });
    const value = await StoredValue.open(({ offset, length }) =>
      admin.request(agent, "timeline.value", { ref: call.hash, name: "request", offset, length }),
    );
    expect(text((await value?.bytes()) ?? null)).toBe(other.request.body);
  });

  test("has the declared provider asked for a model that is not declared, and the other one for the agent's", async () => {
    await admin.request(agent, "run.override", { model: "gpt-5" });
    expect(JSON.parse(own.request.body)).toEqual({ model: "gpt-5", ...BODY });
    expect(own.takeRefusals()).toHaveLength(1);
    await admin.request(agent, "run.override", { provider: router });
    expect(JSON.parse(other.request.body)).toEqual({ model: MODEL, ...BODY });
    expect(other.takeRefusals()).toHaveLength(1);
  });

  test("does so with vlinder run --provider --model", async () => {
    const run = (...more: string[]) => commandLine(behind.daemon.home, ["run", agent, "-m", "x", ...more]);
    expect(await run("--provider", router, "--model", OPENROUTER_MODEL)).toMatchObject({
      code: 0,
      out: `${OPENROUTER_MODEL}: echo: which model\n`,
    });
    expect(JSON.parse(other.request.body)).toEqual({ model: OPENROUTER_MODEL, ...BODY });
    const refused = await run("--provider", claude);
    expect(refused).toMatchObject({ code: 1, out: "" });
    expect(refused.err).toContain("nothing is translated [invalid]");
    expect(refused.err).toContain("these speak it: ");
  });

  test("is told before the turn begins that a provider speaks another protocol, or that there is none", async () => {
    const head = await headOf(admin, agent);
    const { items } = await admin.request(agent, "session.list", {});
    await expect(admin.request(agent, "run.override", { provider: claude })).rejects.toMatchObject({
      code: "invalid",
      message: `the agent "${agent}" speaks openai, and the provider "${claude}" anthropic: nothing is translated`,
      remedy: `these speak it: ollama, openai, openrouter, ${agent}, ${router}`,
    });
    await expect(admin.request(agent, "turn.replay", { turn: "t-1", provider: claude })).rejects.toMatchObject({
      code: "invalid",
    });
    await expect(admin.request(agent, "run.override", { provider: "nobody" })).rejects.toMatchObject({
      code: "invalid",
      message: 'there is no provider "nobody"',
    });
    await stage.register(behind.daemon, "silent", 'object_storage = "default"\n');
    const silent = admin.request("silent" as AgentName, "run.override", { model: MODEL });
    await expect(silent).rejects.toMatchObject({ code: "not_declared", details: { agent: "silent" } });
    expect(await headOf(admin, agent)).toBe(head);
    expect((await admin.request(agent, "session.list", {})).items).toEqual(items);
    expect([own, other, foreign].flatMap(({ requests }) => requests)).toEqual([]);
  });
});
