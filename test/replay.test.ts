import { appendFile } from "node:fs/promises";
import path from "node:path";
import type { Client, Turn } from "@vlinder/agent-runtime";
import { type AgentName, LIMITS, type ReplayReply, type RunReply } from "@vlinder/protocol";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { HttpProvider, json } from "./harness/http-provider.ts";
import { until } from "./harness/processes.ts";
import { headOf } from "./harness/reading.ts";
import { ask, CALLS_LOCAL, counting, OTHER_MODEL, serving } from "./harness/replayed-agent.ts";
import { newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";

const stage = newStage();
const AGENT = "again" as AgentName;
let provider: HttpProvider;
let other: HttpProvider;
let daemon: TestDaemon;
let admin: Client;

beforeAll(async () => {
  provider = await HttpProvider.start();
  other = await HttpProvider.start();
  daemon = await stage.newDaemon(config());
  daemon.environment["LOCAL_KEY"] = "a-key";
  await daemon.start();
  admin = await stage.admin(daemon);
  await stage.register(daemon, AGENT, CALLS_LOCAL);
}, 60_000);
afterAll(() => Promise.all([provider.stop(), other.stop()]));
beforeEach(() => {
  for (const one of [provider, other]) {
    one.answering = counting();
    one.seen.length = 0;
  }
});

function config(local = `[providers.local]\nurl = "${provider.url}/v1"\nkey_env = "LOCAL_KEY"\n`): string {
  return `${local}[providers.elsewhere]\nurl = "${other.url}/v1"\n`;
}

const run = (input: string | Uint8Array, more: object = {}): Promise<RunReply> =>
  admin.request(AGENT, "run", { input, ...more });
const replay = (turn: string, more: object = {}): Promise<ReplayReply> =>
  admin.request(AGENT, "turn.replay", { turn, ...more });
const recorded = (turn: string, more: object = {}): Promise<ReplayReply> => replay(turn, { recorded: true, ...more });
const text = (bytes: Uint8Array | null | undefined): string => new TextDecoder().decode(bytes ?? new Uint8Array());
const branches = async (): Promise<string[]> =>
  (await admin.request(AGENT, "timeline.branches", {})).items.map(({ name }) => name);

/** Two calls, the second about the first one's answer; what comes of it is kept and given back. */
async function converses(turn: Turn): Promise<string> {
  const first = await ask(turn, turn.input);
  const second = await ask(turn, `and ${first}`);
  const notes = (await turn.kv.get("/notes"))?.text() ?? "";
  await turn.kv.put("/notes", `${notes}${second}\n`);
  return second;
}

describe("with recorded calls", () => {
  test("the same agent reaches the same snapshot and output, and nobody is asked", async () => {
    await serving(daemon, AGENT, converses);
    const ran = await run("tea");
    expect(provider.seen).toHaveLength(2);
    const head = await headOf(admin, AGENT);
    // What happens on the branch later is nothing to the replay.
    await (await stage.sdk(daemon, AGENT)).kv.put("/notes", "later");
    provider.seen.length = 0;
    const reply = await recorded(ran.turn);
    expect(provider.seen).toEqual([]);
    expect(reply).toMatchObject({
      of: ran.turn,
      branch: `replay/${ran.turn}`,
      recorded: true,
      same: { kind: true, snapshot: true, output: true },
      diverged: [],
      divergences: 0,
      unused: 0,
      original: { kind: "completed", cost: { calls: 2, recorded: 0, models: ["local/small"] } },
      replay: { kind: "completed", cost: { calls: 2, recorded: 2, models: ["local/small"] } },
    });
    expect(reply.replay.snapshot).toBe(reply.original.snapshot);
    expect(reply.replay.state).not.toBe(reply.original.state);
    expect(text(reply.replay.output?.value)).toBe(text(ran.output));
    expect(reply.replay.cost.input).toBe(reply.original.cost.input);
    expect(reply.replay.cost.input).toBeGreaterThan(0);
    const at = await admin.request(AGENT, "kv.get", { key: "/notes", branch: `replay/${ran.turn}` });
    expect(text(at.value)).toBe(`${text(ran.output)}\n`);
    expect(text((await admin.request(AGENT, "kv.get", { key: "/notes" })).value)).toBe("later");
    expect(head).toBe(ran.head);
    expect(await admin.request(AGENT, "timeline.verify", {})).toMatchObject({ ok: true });
  });

  test("no provider need be there, and none in config.toml", async () => {
    await serving(daemon, AGENT, converses);
    const ran = await run("coffee");
    await daemon.configure(config(""), Number(new URL(daemon.url).port));
    await admin.admin("daemon.reload");
    try {
      expect(await recorded(ran.turn)).toMatchObject({ same: { kind: true, snapshot: true, output: true } });
      const asked = await replay(ran.turn);
      expect(asked.replay.reason).toContain('config.toml has no provider "local" any more');
    } finally {
      await daemon.configure(config(), Number(new URL(daemon.url).port));
      await admin.admin("daemon.reload");
    }
  });

  test("a changed agent diverges, and it is said where; both requests are there", async () => {
    const close = await serving(daemon, AGENT, converses);
    const ran = await run("water");
    await close();
    await serving(daemon, AGENT, async (turn) => {
      const first = await ask(turn, turn.input);
      return await ask(turn, `but ${first}`);
    });
    provider.seen.length = 0;
    const reply = await recorded(ran.turn);
    expect(provider.seen).toEqual([]);
    expect(reply).toMatchObject({
      same: { kind: false, snapshot: false, output: false },
      divergences: 1,
      unused: 1,
      branch: `turn/${reply.turn}`,
      replay: { kind: "failed", cost: { calls: 1, recorded: 1 } },
    });
    expect(reply.replay.reason).toContain("call 2 of the replay is not one that the turn made");
    const [{ call, asked, recorded: then }] = reply.diverged as [ReplayReply["diverged"][0]];
    expect(call).toBe(2);
    expect(text(asked.request?.value)).toContain("but small says 1 to water");
    expect(text(then?.request?.value)).toContain("and small says 1 to water");
    const shown = await admin.request(AGENT, "timeline.show", { ref: asked.commit });
    expect(shown.event).toMatchObject({ kind: "call", info: { diverged: { call: 2, recorded: then?.commit } } });
  });

  test("an agent that goes on after a call that is not in the record is compared call by call", async () => {
    const close = await serving(daemon, AGENT, async (turn) => {
      for (const what of ["a", "b", "c"]) await ask(turn, what);
      return "done";
    });
    const ran = await run("");
    await close();
    await serving(daemon, AGENT, async (turn) => {
      for (const what of ["a", "B", "C", "c", "d"]) await ask(turn, what).catch(() => null);
      return "done";
    });
    const { diverged, divergences, unused, same } = await recorded(ran.turn);
    const said = diverged.map(({ call, asked, recorded: then }) => [
      call,
      /"content":"(.)"/.exec(text(asked.request?.value))?.[1],
      /"content":"(.)"/.exec(text(then?.request?.value))?.[1] ?? null,
    ]);
    expect(said).toEqual([
      [2, "B", "b"],
      [3, "C", "c"],
      [5, "d", null],
    ]);
    expect({ divergences, unused, same }).toEqual({
      divergences: 3,
      unused: 1,
      same: { kind: true, snapshot: true, output: true },
    });
  });

  test("calls at the same time are told apart by what they ask", async () => {
    let order = ["a", "b", "c", "a"];
    await serving(daemon, AGENT, async (turn) => {
      const answers = await Promise.all(order.map((what) => ask(turn, what)));
      return answers.sort().join();
    });
    const ran = await run("");
    order = ["c", "a", "a", "b"];
    expect(await recorded(ran.turn)).toMatchObject({ same: { output: true }, divergences: 0, unused: 0 });
  });

  test("a call that broke off does so again, at the same place, with the same words", async () => {
    provider.answering = (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: one\n\n");
      setTimeout(() => response.destroy(), 100);
    };
    await serving(daemon, AGENT, async (turn) => {
      const body = JSON.stringify({ model: "small", stream: true, messages: [] });
      const response = await turn.fetch("http://vlinder/v1/chat/completions", { method: "POST", body });
      let read = "";
      const end = await (async () => {
        for await (const part of response.body ?? []) read += text(part as Uint8Array);
        return "whole";
      })().catch((error: unknown) => String(error));
      await turn.kv.put("/broken", `${read}|${end}`);
      return `${response.status} ${read}|${end}`;
    });
    const ran = await run("");
    expect(text(ran.output)).toMatch(/^200 data: one\n\n\|VlinderError: .*broke off after 11 bytes/);
    expect(await recorded(ran.turn)).toMatchObject({ same: { snapshot: true, output: true }, divergences: 0 });
  });

  test("an answer that never came does not come again; one with a status of an error is that error", async () => {
    let first = true;
    provider.answering = (response, seen) => {
      if (first) throw new Error("no answer");
      return json({ error: { message: "slow down" } }, 429)(response, seen);
    };
    await serving(daemon, AGENT, async (turn) => {
      const said: string[] = [];
      for (const what of ["one", "two"]) {
        await ask(turn, what).catch((error: unknown) => said.push(String(error)));
        first = false;
      }
      return said.join("\n");
    });
    const ran = await run("");
    expect(text(ran.output)).toMatch(/^Error: 503 .*gave no answer.*\nError: 429 slow down$/s);
    provider.seen.length = 0;
    expect(await recorded(ran.turn)).toMatchObject({ same: { output: true }, divergences: 0 });
    expect(provider.seen).toEqual([]);
  });

  test("a turn that was run on another model is replayed as that, and so is a replay of it", async () => {
    await serving(daemon, AGENT, converses);
    const ran = await admin.request(AGENT, "run.override", { input: "x", provider: "elsewhere", model: "huge" });
    expect(text(ran.output)).toContain("huge says 2");
    other.seen.length = 0;
    const reply = await recorded(ran.turn);
    expect(reply).toMatchObject({ same: { snapshot: true, output: true }, divergences: 0, unused: 0 });
    expect(await recorded(reply.turn)).toMatchObject({ same: { snapshot: true, output: true }, unused: 0 });
    expect(other.seen).toEqual([]);
    const anew = await replay(ran.turn);
    expect(anew.replay.cost).toMatchObject({ models: ["elsewhere/huge"], recorded: 0 });
    expect(provider.seen).toEqual([]);
  });

  test("with a provider or a model it is refused", async () => {
    for (const more of [{ model: "x" }, { provider: "elsewhere" }]) {
      await expect(recorded("t-x", more)).rejects.toMatchObject({ code: "invalid" });
    }
  });
});

describe("with another model or provider", () => {
  test("output, state and cost differ, and the reply says how", async () => {
    await serving(daemon, AGENT, converses);
    const ran = await run("tea");
    const reply = await replay(ran.turn, { model: OTHER_MODEL });
    expect(provider.last.body).toContain('"model":"large"');
    expect(reply).toMatchObject({
      same: { kind: true, snapshot: false, output: false },
      recorded: false,
      unused: 0,
      replay: { cost: { calls: 2, recorded: 0, models: ["local/large"] } },
      original: { cost: { calls: 2, models: ["local/small"] } },
    });
    expect(text(reply.replay.output?.value)).toContain("large says 4");
    const elsewhere = await replay(ran.turn, { provider: "elsewhere", model: "any/one", branch: "try" });
    expect(elsewhere).toMatchObject({ branch: "try", replay: { cost: { models: ["elsewhere/any/one"] } } });
    expect(other.seen).toHaveLength(2);
    const { items } = await admin.request(AGENT, "timeline.diff", {
      from: elsewhere.original.state,
      to: elsewhere.replay.state,
    });
    expect(items.map(({ key }) => key)).toEqual(["/notes"]);
  });

  test("a provider that there is not is refused before anything changes", async () => {
    await serving(daemon, AGENT, converses);
    const { turn } = await run("x");
    const before = await branches();
    await expect(replay(turn, { provider: "nowhere" })).rejects.toMatchObject({ code: "invalid" });
    expect(await branches()).toEqual(before);
  });
});

describe("what a replay runs on", () => {
  test("it has the input, however large, and is no retry of the turn for the agent", async () => {
    const large = new Uint8Array(LIMITS.valueBytes).map((_, i) => i % 251);
    await serving(daemon, AGENT, (turn) => `${turn.inputBytes.length} ${turn.inputBytes.at(-1)} ${turn.retries}`);
    const ran = await run(large);
    expect(text(ran.output)).toBe(`${LIMITS.valueBytes} ${(LIMITS.valueBytes - 1) % 251} null`);
    expect(await recorded(ran.turn)).toMatchObject({ same: { output: true } });
    const again = await run("", { retries: ran.turn });
    expect(text(again.output)).toContain(ran.turn);
    expect(await recorded(again.turn)).toMatchObject({ same: { output: true } });
  });

  test("it sees the session as it was, and is no part of it", async () => {
    await serving(daemon, AGENT, async (turn) => {
      const before = await turn.history();
      return `${turn.input} after ${before.map(({ input }) => input).join()}`;
    });
    const session = "s-story";
    const turns: RunReply[] = [];
    for (const input of ["one", "two", "three"]) turns.push(await run(input, { session }));
    const [first, second] = turns as [RunReply, RunReply];
    const reply = await recorded(second.turn);
    expect(reply).toMatchObject({ same: { output: true }, session });
    const story = async () => (await admin.request(AGENT, "session.get", { session })).items.map(({ turn }) => turn);
    expect(await story()).toEqual(turns.map(({ turn }) => turn));
    const list = (await admin.request(AGENT, "session.list", {})).items.find((one) => one.session === session);
    expect(list).toMatchObject({ turns: 3, last: { turn: turns[2]?.turn } });
    expect(text((await run("four", { session })).output)).toBe("four after one,two,three");
    // Whoever goes on from the fork goes on from what happened there.
    const onFork = await run("five", { session, branch: reply.branch });
    expect(text(onFork.output)).toBe("five after one,two");
    const { items } = await admin.request(AGENT, "session.get", { session, before: onFork.turn });
    expect(items.map(({ turn }) => turn)).toEqual([first.turn, reply.turn]);
  });

  test("of a turn on another branch, and of a replay, it begins where that began", async () => {
    const vlinder = await stage.sdk(daemon, AGENT);
    await admin.request(AGENT, "timeline.fork", { name: "side" });
    await admin.request(AGENT, "kv.put", { key: "/where", value: "side", branch: "side" });
    await vlinder.kv.put("/where", "main");
    await serving(daemon, AGENT, async (turn) => (await turn.kv.get("/where"))?.text() ?? "");
    const ran = await run("", { branch: "side" });
    const reply = await recorded(ran.turn);
    expect(text(reply.replay.output?.value)).toBe("side");
    const again = await recorded(reply.turn);
    expect(again).toMatchObject({ of: reply.turn, base: reply.base, same: { snapshot: true, output: true } });
  });

  test("the contract of then holds, whatever agent.toml says now", async () => {
    const name = "reformed" as AgentName;
    const dir = await stage.agentFolder(name, 'object_storage = "sqlite://objects.db"\n');
    await admin.admin("agents.register", { dir });
    await serving(daemon, name, async (turn) => void (await turn.kv.put("/a", "1")));
    const ran = await admin.request(name, "run", {});
    await appendFile(path.join(dir, "agent.toml"), '[merge]\n"/a" = "newest"\n');
    await admin.admin("agents.register", { dir });
    const reply = await admin.request(name, "turn.replay", { turn: ran.turn, recorded: true });
    expect(reply.same).toEqual({ kind: true, snapshot: true, output: true });
    const head = await admin.request(name, "timeline.show", { ref: "main" });
    expect(head.snapshot).not.toBe(reply.replay.snapshot);
  });

  test("what was done in the outside world is not done again; other events make no difference", async () => {
    const world: string[] = [];
    await serving(daemon, AGENT, async (turn) => {
      const paid = await turn.once("pay", () => {
        world.push("paid");
        return { number: world.length };
      });
      const thought = await ask(turn, "thanks");
      return `${JSON.stringify(paid)} ${thought}`;
    });
    const ran = await run("");
    expect(await recorded(ran.turn)).toMatchObject({ same: { snapshot: true, output: true } });
    expect(world).toEqual(["paid"]);
  });
});

describe("what is not there any more", () => {
  test("an answer or an input that was erased is said before anything begins", async () => {
    const vlinder = await stage.sdk(daemon, AGENT);
    await serving(daemon, AGENT, async (turn) => {
      const answer = await ask(turn, "the name of my cat");
      await turn.kv.put("/cat", turn.input === "" ? answer : turn.input);
      return "noted";
    });
    const ran = await run("");
    const secret = await run("Minka, who is a cat");
    const before = await branches();
    await admin.request(AGENT, "timeline.forget", { key: "/cat", run: true });
    const erased = { code: "erased", remedy: expect.stringContaining("without --recorded") };
    await expect(recorded(ran.turn)).rejects.toMatchObject(erased);
    await expect(recorded(secret.turn)).rejects.toMatchObject({ code: "erased" });
    await expect(replay(secret.turn)).rejects.toMatchObject({ code: "erased" });
    expect(await branches()).toEqual(before);
    // Without the record it can be asked again.
    expect(await replay(ran.turn)).toMatchObject({ same: { kind: true, output: true } });
    await vlinder.kv.delete("/cat");
  });
});

describe("turns that were not completed", () => {
  test("a failed one fails again in the same way, and is the same", async () => {
    await serving(daemon, AGENT, async (turn) => {
      await turn.kv.put("/half", await ask(turn, turn.input));
      throw new Error("it broke");
    });
    const ran = await run("x");
    const before = await branches();
    const reply = await recorded(ran.turn);
    expect(reply).toMatchObject({
      same: { kind: true, snapshot: true, output: true },
      original: { kind: "failed", reason: expect.stringContaining("it broke") },
      replay: { kind: "failed", reason: expect.stringContaining("it broke") },
      branch: `turn/${reply.turn}`,
    });
    expect((await branches()).sort()).toEqual([...before, `turn/${reply.turn}`].sort());
  });

  test("one that had a conflict has none on the fork", async () => {
    const vlinder = await stage.sdk(daemon, AGENT);
    let disturbs = true;
    await serving(daemon, AGENT, async (turn) => {
      await turn.kv.put("/contested", "mine", { expect: null });
      if (disturbs) await vlinder.kv.put("/contested", "theirs");
      return "done";
    });
    const ran = await run("");
    expect(ran.kind).toBe("conflict");
    disturbs = false;
    expect(await recorded(ran.turn)).toMatchObject({
      same: { kind: false, snapshot: true },
      original: { kind: "conflict", output: null },
      replay: { kind: "completed" },
      branch: `replay/${ran.turn}`,
    });
  });

  test("one that is open can't be replayed, nor one that there is not", async () => {
    const vlinder = await stage.sdk(daemon, AGENT);
    const open = await vlinder.begin();
    await expect(recorded(open.id)).rejects.toMatchObject({ code: "conflict" });
    await open.complete();
    await expect(recorded("t-none")).rejects.toMatchObject({ code: "not_found" });
  });
});

describe("how often, and by whom", () => {
  test("by one id it is one replay, also once it has ended, and however much it diverged", async () => {
    let runs = 0;
    let word = "as then";
    await serving(daemon, AGENT, async (turn) => {
      runs++;
      return await ask(turn, word).catch(() => "not asked then");
    });
    const ran = await run("");
    word = "otherwise";
    const before = await branches();
    const again = () => recorded(ran.turn, { id: "the-replay" });
    const [a, b] = await Promise.all([again(), again()]);
    const c = await again();
    expect(runs).toBe(2);
    expect(b).toEqual(a);
    expect(c).toEqual(a);
    expect(a).toMatchObject({ divergences: 1, unused: 1 });
    expect((await branches()).length).toBe(before.length + 1);
    await expect(replay(ran.turn, { id: "the-replay" })).rejects.toMatchObject({ code: "conflict" });
    // The fork's own name is not in the way of the same request.
    const named = () => recorded(ran.turn, { id: "named", branch: "named" });
    expect(await named()).toEqual(await named());
  });

  test("who joins it while it runs does not begin its record anew", async () => {
    let twice = false;
    let [asked, go] = [false, (): void => {}];
    await serving(daemon, AGENT, async (turn) => {
      await ask(turn, "once");
      if (!twice) return "done";
      asked = true;
      await new Promise<void>((resolve) => (go = resolve));
      return await ask(turn, "once").catch(() => "not twice");
    });
    const ran = await run("");
    twice = true;
    const request = () => recorded(ran.turn, { id: "joined" });
    const first = request();
    await until("it has asked once", () => asked);
    let joined = false;
    const second = admin.request(
      AGENT,
      "turn.replay",
      { turn: ran.turn, recorded: true, id: "joined" },
      { onProgress: () => (joined = true) },
    );
    await until("somebody has joined", () => joined);
    go();
    const reply = await first;
    expect(text(reply.replay.output?.value)).toBe("not twice");
    expect(reply.diverged).toMatchObject([{ call: 2, recorded: null }]);
    expect(await second).toEqual(reply);
  });

  test("after a promote the story has the replay in place of the turn", async () => {
    await serving(daemon, AGENT, async (turn) => {
      const before = await turn.history();
      return `${await ask(turn, turn.input)} after ${before.map(({ output }) => output).join("; ")}`;
    });
    const session = "s-promoted";
    const ran = await run("one", { session });
    const reply = await replay(ran.turn, { model: OTHER_MODEL });
    await admin.request(AGENT, "timeline.promote", { branch: reply.branch });
    expect(text((await run("two", { session })).output)).toBe("small says 3 to two after large says 2 to one after ");
  });

  test("two at once have forks of their own; a name that was asked for is not changed", async () => {
    await serving(daemon, AGENT, converses);
    const ran = await run("x");
    const replies = await Promise.all([recorded(ran.turn), recorded(ran.turn), recorded(ran.turn)]);
    const name = `replay/${ran.turn}`;
    expect(new Set(replies.map(({ branch }) => branch))).toEqual(new Set([name, `${name}-2`, `${name}-3`]));
    for (const { same, unused } of replies) {
      expect({ same, unused }).toEqual({ same: { kind: true, snapshot: true, output: true }, unused: 0 });
    }
    await expect(recorded(ran.turn, { branch: name })).rejects.toMatchObject({ code: "conflict" });
  });

  test("when no process serves the agent, nothing is left", async () => {
    const close = await serving(daemon, AGENT, () => "x");
    const ran = await run("");
    await close();
    const before = await branches();
    await expect(recorded(ran.turn, { limit: 1 })).rejects.toMatchObject({ code: "unavailable", retryable: false });
    expect(await branches()).toEqual(before);
  });

  test("it is cancelled as any turn is, and what it did is kept", async () => {
    let waits = false;
    await serving(daemon, AGENT, async (turn) => {
      if (waits) await new Promise((resolve) => turn.signal.addEventListener("abort", resolve));
      return "x";
    });
    const ran = await run("");
    waits = true;
    let turn = "";
    const onProgress = ({ what, text: id = "" }: { what: string; text?: string }): void => {
      if (what === "turn") turn = id;
    };
    const asked = admin.request(AGENT, "turn.replay", { turn: ran.turn, recorded: true }, { onProgress });
    await until("it runs", () => turn !== "");
    await admin.request(AGENT, "turn.fail", { turn, reason: "enough" });
    expect(await asked).toMatchObject({ same: { kind: false }, replay: { kind: "failed", reason: "enough" } });
  });
});
