import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import Anthropic from "@anthropic-ai/sdk";
import { type Client, StoredValue, type Turn } from "@vlinder/agent-runtime";
import type { AgentName, CommitItem, Hash } from "@vlinder/protocol";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { anthropic } from "../harness/providers/anthropic.ts";
import { BehindDaemon } from "../harness/providers/behind-daemon.ts";
import { ModelServer } from "../harness/providers/model-server.ts";
import { ollama } from "../harness/providers/ollama.ts";
import { openai } from "../harness/providers/openai.ts";
import { openrouter, OPENROUTER_MODEL } from "../harness/providers/openrouter.ts";
import type { Provider } from "../harness/providers/provider.ts";
import { drain } from "../harness/providers/suites/served.ts";
import { commandLine } from "../harness/command-line.ts";
import { allCommits } from "../harness/reading.ts";
import { newStage } from "../harness/stage.ts";

const stage = newStage();
const KEY = "key-that-nobody-may-see-9876543210";
const RUNTIME = pathToFileURL(path.resolve(import.meta.dirname, "../../agent-runtime/src/index.ts")).href;
const servers: ModelServer[] = [];
let behind: BehindDaemon;
let admin: Client;

beforeAll(async () => {
  behind = await BehindDaemon.start(stage, { MODEL_KEY: KEY, ANTHROPIC_API_KEY: KEY });
  admin = await stage.admin(behind.daemon);
});
afterAll(async () => {
  for (const server of servers) await server.close();
});

async function serverOf(provider: Provider): Promise<ModelServer> {
  const server = await ModelServer.start(provider);
  servers.push(server);
  return server;
}

interface Made {
  readonly model: string;
  /** What the answer says of its tokens; null: nothing. */
  readonly tokens: readonly [number, number] | null;
  readonly service?: "infer" | "embed";
  readonly status?: number;
  readonly complete?: boolean;
}

type Call = (fetch: Turn["fetch"], server: ModelServer) => Promise<Made>;

const chats = (baseURL: string, model: string, always: boolean): Call[] => {
  const body = { model, messages: [{ role: "user" as const, content: "Größe, two" }] };
  const client = (fetch: Turn["fetch"]) => new OpenAI({ apiKey: "no-key", baseURL, fetch, maxRetries: 0 });
  return [
    async (fetch) => {
      await client(fetch).chat.completions.create(body);
      return { model, tokens: [2, 3] };
    },
    async (fetch) => {
      const asked = { ...body, stream: true as const, stream_options: { include_usage: true } };
      await drain(await client(fetch).chat.completions.create(asked));
      return { model, tokens: [2, 3] };
    },
    async (fetch) => {
      await drain(await client(fetch).chat.completions.create({ ...body, stream: true }));
      // Only who asks for it is told.
      return { model, tokens: always ? [2, 3] : null };
    },
  ];
};

const OPENAI = { model: "gpt-4.1-mini", input: "one two" };
const openaiClient = (fetch: Turn["fetch"]) => new OpenAI({ apiKey: "no-key", fetch, maxRetries: 0 });
const CLAUDE = {
  model: "claude-haiku-4-5",
  max_tokens: 100,
  messages: [{ role: "user" as const, content: "Größe, two" }],
};
const claude = (fetch: Turn["fetch"]) => new Anthropic({ apiKey: "no-key", fetch, maxRetries: 0 });
const LLAMA = { model: "llama3.2", messages: [{ role: "user" as const, content: "Größe, two" }] };

const CASES: readonly (readonly [string, () => Provider, string, readonly Call[]])[] = [
  [
    "openai",
    () => openai(KEY),
    KEY,
    [
      ...chats("https://api.openai.com/v1", "gpt-4.1-mini", false),
      async (fetch) => {
        await openaiClient(fetch).responses.create(OPENAI);
        return { model: OPENAI.model, tokens: [2, 3] };
      },
      async (fetch) => {
        await drain(await openaiClient(fetch).responses.create({ ...OPENAI, stream: true }));
        return { model: OPENAI.model, tokens: [2, 3] };
      },
      async (fetch) => {
        const model = "text-embedding-3-small";
        await openaiClient(fetch).embeddings.create({ model, input: ["tea", "milk"] });
        return { model, tokens: [2, 0], service: "embed" };
      },
      async (fetch, server) => {
        server.inject({ kind: "rate-limit", retryAfter: 1 });
        await expect(openaiClient(fetch).responses.create(OPENAI)).rejects.toMatchObject({ status: 429 });
        return { model: OPENAI.model, tokens: null, status: 429 };
      },
      async (fetch, server) => {
        server.inject({ kind: "cut", after: 5 });
        const { error } = await drain(await openaiClient(fetch).responses.create({ ...OPENAI, stream: true }));
        expect(error).toBeInstanceOf(Error);
        return { model: OPENAI.model, tokens: null, complete: false };
      },
    ],
  ],
  [
    "anthropic",
    () => anthropic(KEY),
    KEY,
    [
      async (fetch) => {
        await claude(fetch).messages.create(CLAUDE);
        return { model: CLAUDE.model, tokens: [2, 3] };
      },
      async (fetch) => {
        await drain(await claude(fetch).messages.create({ ...CLAUDE, stream: true }));
        return { model: CLAUDE.model, tokens: [2, 3] };
      },
    ],
  ],
  [
    "ollama",
    () => ollama(),
    "",
    [
      async (fetch) => {
        await new Ollama({ fetch }).chat(LLAMA);
        return { model: LLAMA.model, tokens: [2, 3] };
      },
      async (fetch) => {
        await drain(await new Ollama({ fetch }).chat({ ...LLAMA, stream: true }));
        return { model: LLAMA.model, tokens: [2, 3] };
      },
      async (fetch) => {
        const model = "nomic-embed-text";
        await new Ollama({ fetch }).embed({ model, input: ["tea", "milk"] });
        return { model, tokens: [2, 0], service: "embed" };
      },
      ...chats("http://localhost:11434/v1", LLAMA.model, false),
    ],
  ],
  ["openrouter", () => openrouter(KEY), KEY, chats("https://openrouter.ai/api/v1", OPENROUTER_MODEL, true)],
];

async function valueOf(agent: AgentName, commit: Hash, name: string): Promise<Buffer> {
  const value = await StoredValue.open((part) =>
    admin.request(agent, "timeline.value", { ref: commit, name, offset: part.offset, length: part.length }),
  );
  // Checked against its hash.
  return Buffer.from(await (value as StoredValue).bytes());
}

/** The calls of a turn, oldest first. */
async function callsOf(agent: string, turn: string): Promise<CommitItem[]> {
  const commits = await allCommits(admin, agent);
  return commits.filter((one) => one.turn === turn && one.event.kind === "call").reverse();
}

async function shown(...args: string[]): Promise<string> {
  const { code, out, err } = await commandLine(behind.daemon.home, args);
  expect([code, err]).toEqual([0, ""]);
  return out;
}

test.each(CASES)("calls of %s are recorded as they went over the wire", async (_name, provider, key, calls) => {
  const server = await serverOf(provider());
  const agent = (await behind.agentFor(server, key)) as AgentName;
  const turn = await (await stage.sdk(behind.daemon, agent)).begin();
  const made: Made[] = [];
  for (const call of calls) made.push(await call(turn.fetch, server));
  await turn.complete();

  const recorded = await callsOf(agent, turn.id);
  expect(recorded).toHaveLength(made.length);
  expect(server.requests).toHaveLength(made.length);
  for (const [i, { hash, event }] of recorded.entries()) {
    const { method, path: asked, body, sent } = server.requests[i] as ModelServer["request"];
    const { model, tokens, service = "infer", status = 200, complete = true } = made[i] as Made;
    expect(event.info, `call ${i}`).toMatchObject({ provider: agent, model, service, method, status, complete });
    // What an SDK puts before the version is of another host.
    expect(event.info?.["path"], `call ${i}`).toBe(asked.replace(/^\/api(?=\/v1)/, ""));
    expect(event.info?.["tokens"] ?? null, `call ${i}`).toEqual(
      tokens === null ? null : { input: tokens[0], output: tokens[1] },
    );
    expect((await valueOf(agent, hash, "request")).toString(), `call ${i}`).toBe(body);
    expect((await valueOf(agent, hash, "response")).toString(), `call ${i}`).toBe(sent.toString());
    expect(sent.length, `call ${i}`).toBeGreaterThan(0);
  }
  server.settle();

  const [first] = recorded as [CommitItem];
  const people = await shown("show", agent, first.hash, "--values");
  expect(people).toMatch(/^tokens {4}2 in, 3 out$/m);
  expect(people).toMatch(/^request {3}\d+ B, sha-256 [0-9a-f]{7}$/m);
  expect(people).toMatch(/^ {7}"model": ".+",?$/m);
  expect(people).toContain("echo: Größe, two");
});

test("timeline.value gives a part, and says what there is", async () => {
  const server = await serverOf(ollama());
  const agent = (await behind.agentFor(server, "")) as AgentName;
  const vlinder = await stage.sdk(behind.daemon, agent);
  const turn = await vlinder.begin({ input: "what for" });
  await new Ollama({ fetch: turn.fetch }).chat(LLAMA);
  const { commit } = await turn.complete("done");
  const [call] = (await callsOf(agent, turn.id)) as [CommitItem];
  const ask = (ref: string, name: string, more: object = {}) =>
    vlinder.client.request(agent, "timeline.value", { ref, name, ...more });
  const text = JSON.stringify({ ...LLAMA, stream: false });
  const { hash, bytes } = await ask(call.hash, "request");
  expect(JSON.parse(Buffer.from(bytes).toString())).toEqual(JSON.parse(text));
  const part = await ask(call.hash, "request", { offset: 2, length: 5 });
  expect(part).toMatchObject({ offset: 2, hash, size: bytes.length, state: call.hash });
  expect(Buffer.from(part.bytes)).toEqual(Buffer.from(bytes.subarray(2, 7)));
  await expect(ask(call.hash, "request", { offset: bytes.length + 1 })).rejects.toMatchObject({ code: "invalid" });
  for (const name of ["input", "constructor", "__proto__"]) {
    await expect(ask(call.hash, name)).rejects.toMatchObject({
      code: "not_found",
      details: { commit: call.hash, names: ["request", "response"] },
    });
  }
  expect(Buffer.from((await ask(commit, "output")).bytes).toString()).toBe("done");
  expect(await shown("show", agent, commit, "--values")).toMatch(/^output {3}4 B, sha-256 [0-9a-f]{7}\n {5}done$/m);
});

test("an erased value is said to be, by the operation and by show", async () => {
  const server = await serverOf(ollama());
  const agent = (await behind.agentFor(server, "")) as AgentName;
  const vlinder = await stage.sdk(behind.daemon, agent);
  const secret = "a secret that Ann told, and that must not stay anywhere";
  await vlinder.kv.put("/people/ann", secret);
  const turn = await vlinder.begin();
  await new Ollama({ fetch: turn.fetch }).chat({ ...LLAMA, messages: [{ role: "user", content: secret }] });
  await turn.complete();
  await admin.request(agent, "timeline.forget", { key: "/people/ann", run: true });
  const [call] = (await callsOf(agent, turn.id)) as [CommitItem];
  await expect(valueOf(agent, call.hash, "request")).rejects.toMatchObject({ code: "erased" });
  expect(await shown("show", agent, call.hash, "--values")).toMatch(/^request .*\n {5}left out: erased$/m);
  const document = JSON.parse(await shown("show", agent, call.hash, "--values", "--json")) as { values: object };
  expect(document.values).toMatchObject({ request: { value: null, why: "erased" } });
});

test("the key is nowhere: not with an agent that the daemon starts, not in what it leaves behind", async () => {
  const server = await serverOf(openai(KEY));
  const script = await stage.path("main.mjs");
  await writeFile(
    script,
    `import OpenAI from ${JSON.stringify(import.meta.resolve("openai"))};
import { serve } from ${JSON.stringify(RUNTIME)};
await serve(process.env.VLINDER_AGENT, async (turn) => {
  const client = new OpenAI({ apiKey: "no-key", fetch: turn.fetch, maxRetries: 0 });
  const done = await client.chat.completions.create({ model: "gpt-4.1-mini", messages: [{ role: "user", content: turn.input }] });
  return JSON.stringify({ text: done.choices[0].message.content, pid: process.pid, env: process.env });
});
`,
  );
  const more = `runtime = "process"\nexecutable = ${JSON.stringify(`node ${script}`)}\n`;
  const agent = (await behind.agentFor(server, KEY, more)) as AgentName;
  const { output, kind, reason } = await admin.request(agent, "run", { input: "hello" });
  expect([kind, reason]).toEqual(["completed", null]);
  const said = Buffer.from(output as Uint8Array).toString();
  const { text, pid } = JSON.parse(said) as { text: string; pid: number };
  expect(text).toBe("echo: hello");
  expect(server.request.headers.authorization).toBe(`Bearer ${KEY}`);
  expect(said).not.toContain(KEY);
  expect(readFileSync(`/proc/${pid}/environ`, "utf8")).not.toContain(KEY);
  // The daemon itself has it: the sight is not blind.
  expect(readFileSync(`/proc/${behind.daemon.pid}/environ`, "utf8")).toContain(KEY);

  const { items } = await admin.admin("agents.list", {});
  expect(items.length).toBe(CASES.length + 3);
  for (const { agent: name } of items) expect(JSON.stringify(await allCommits(admin, name))).not.toContain(KEY);
  expect(behind.daemon.log.join("\n")).not.toContain(KEY);
  // 1: nothing found, and nothing went wrong.
  expect(spawnSync("grep", ["-r", "-l", "-a", "--", KEY, behind.daemon.home])).toMatchObject({ status: 1 });
});
