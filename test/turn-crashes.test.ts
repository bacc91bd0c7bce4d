import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Client, Turn, Vlinder } from "@vlinder/agent-runtime";
import type { AgentName, SessionTurn } from "@vlinder/protocol";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NODE_FLAGS } from "../daemon/src/node-flags.ts";
import { IoShim, SHIM_SKIP, type ShimFault } from "./harness/faults/io-shim.ts";
import { HoldProxy } from "./harness/hold-proxy.ts";
import { endAll, freePort, until } from "./harness/processes.ts";
import { openObjectStorage } from "../daemon/src/storage/objects.ts";
import { newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";

// Whoever is killed with -9, and whenever in the course of a turn: the branch is before the turn or behind it, what was
// answered holds, what happened is told, and the next turn works. Every step is a test of its own.

const stage = newStage();
const AGENT = "crash" as AgentName;
const WRITES = 3;
const shim = SHIM_SKIP === null ? new IoShim() : null;
let daemon: TestDaemon;
let admin: Client;
let agent: Vlinder;
let cases = 0;

beforeAll(async () => {
  daemon = await stage.newDaemon();
  if (shim !== null) Object.assign(daemon.environment, shim.env);
  // One port over all starts, as a real daemon has.
  await daemon.configure("", await freePort());
  await daemon.start();
  await stage.register(daemon, AGENT, 'object_storage = "sqlite://objects.db"\n');
  const patient = { home: daemon.home, retries: 30, timeout: 3000 };
  admin = await stage.client(patient);
  agent = await stage.sdk(daemon, AGENT, patient);
});
afterAll(() => shim?.dispose());

/** One turn, under a session and keys of its own, and what was answered of it. */
class Story {
  readonly session = `s-case-${++cases}`;
  readonly prefix = `/${this.session}/`;
  /** What of it was answered. */
  turn: Turn | null = null;
  written = 0;
  completed = false;
  readonly #vlinder: Vlinder;

  constructor(vlinder: Vlinder = agent) {
    this.#vlinder = vlinder;
  }

  async begin(): Promise<void> {
    this.turn = await this.#vlinder.begin({ session: this.session });
  }

  async write(): Promise<void> {
    await (this.turn as Turn).kv.put(`${this.prefix}${this.written}`, "1");
    this.written++;
  }

  async writeAll(): Promise<void> {
    for (let i = 0; i < WRITES; i++) await this.write();
  }

  async complete(): Promise<void> {
    await (this.turn as Turn).complete();
    this.completed = true;
  }
}

async function keysOf(prefix: string, branch = "main"): Promise<number> {
  return (await admin.request(AGENT, "kv.list", { prefix, branch })).items.length;
}

async function turnsOf(session: string): Promise<readonly SessionTurn[]> {
  return (await admin.request(AGENT, "session.get", { session })).items;
}

/** What has to hold however it went on. Returns how the turn ended; null: it never began. */
async function checkEnded({
  session,
  prefix,
  written,
  completed,
}: Pick<Story, "session" | "prefix" | "written" | "completed">) {
  const { items: sessions } = await admin.request(AGENT, "session.list", { limit: 1000 });
  const there = sessions.some((one) => one.session === session);
  if (there)
    await until("the turn has ended", async () => (await turnsOf(session)).every(({ kind }) => kind !== "open"));
  const turns = there ? await turnsOf(session) : [];
  const keys = await keysOf(prefix);
  expect(turns.length).toBeLessThanOrEqual(1);
  const [turn] = turns;
  expect(keys).toBe(turn?.kind === "completed" ? WRITES : 0);
  if (completed) expect(turn?.kind).toBe("completed");
  const { items: branches } = await admin.request(AGENT, "timeline.branches", {});
  const kept = branches.find(({ name }) => name === `turn/${turn?.turn}`);
  const { items: log } = await admin.request(AGENT, "timeline.log", { limit: 1000 });
  const told = log.filter((item) => item.turn === turn?.turn && turn !== undefined).map(({ event }) => event.kind);
  if (turn?.kind === "completed") {
    expect(kept).toBeUndefined();
    expect(told).toEqual(["complete", ...Array<string>(WRITES).fill("kv.put"), "invoke"]);
  } else if (turn !== undefined) {
    expect(told).toEqual([]);
    expect(kept?.head).toBe(turn.commit);
    expect(turn.reason).toMatch(/^(the daemon stopped before the turn ended|it was not ended within 1 s)$/);
    expect(await keysOf(prefix, `turn/${turn.turn}`)).toBeLessThanOrEqual(written);
  }
  const next = new Story();
  await next.begin();
  await next.writeAll();
  await next.complete();
  expect(await keysOf(next.prefix)).toBe(WRITES);
  return turn?.kind ?? null;
}

/** A request that was under way: whether it was answered in the end. */
async function answered(request: Promise<void>): Promise<boolean> {
  return await request.then(
    () => true,
    (error: { code?: string }) => {
      // It was sent again to a daemon that knows of no such turn any more.
      expect(["not_found", "conflict"]).toContain(error.code);
      return false;
    },
  );
}

type Step = "begin" | "write 1" | "write 2" | "write 3" | "complete";
const STEPS: readonly Step[] = ["begin", "write 1", "write 2", "write 3", "complete"];

function perform(story: Story, step: Step): Promise<void> {
  if (step === "begin") return story.begin();
  return step === "complete" ? story.complete() : story.write();
}

/** A turn that has done a step, or all that come before it. */
async function upTo(step: Step, vlinder: Vlinder = agent, isDone = true): Promise<Story> {
  const story = new Story(vlinder);
  for (const one of STEPS.slice(0, STEPS.indexOf(step) + (isDone ? 1 : 0))) await perform(story, one);
  return story;
}

describe("kill -9 of the daemon", () => {
  /** It dies by itself at that call for the agent's objects. */
  async function crashAt(call: ShimFault["call"], work: () => Promise<void>): Promise<boolean> {
    shim?.set({ call, error: "KILL", file: "objects.db" });
    const request = answered(work());
    await daemon.exited();
    shim?.clear();
    await daemon.start();
    return await request;
  }

  const skipped = SHIM_SKIP === null ? "" : ` (skipped: ${SHIM_SKIP})`;
  describe.skipIf(SHIM_SKIP !== null)(`at a step of its storage${skipped}`, () => {
    test("before begin is stored", async () => {
      const story = new Story();
      // Sent again it begins anew.
      expect(await crashAt("write", () => story.begin())).toBe(true);
      await story.writeAll();
      await story.complete();
      expect(await checkEnded(story)).toBe("completed");
    });

    test("when begin is stored, and before it is answered", async () => {
      const story = new Story();
      await crashAt("fsync", () => story.begin());
      expect(await checkEnded(story)).toBe("failed");
    });

    test.each(["write", "fsync"] as const)("in the midst of what is stored in the background (%s)", async (call) => {
      const story = new Story();
      await story.begin();
      await story.writeAll();
      await crashAt(call, async () => {});
      expect(await checkEnded(story)).toBe("failed");
      const [turn] = await turnsOf(story.session);
      expect(await keysOf(story.prefix, `turn/${turn?.turn}`)).toBe(call === "write" ? 0 : WRITES);
    });

    test("before complete is stored", async () => {
      const story = new Story();
      await story.begin();
      await story.writeAll();
      expect(await crashAt("write", () => story.complete())).toBe(false);
      expect(await checkEnded(story)).toBe("failed");
    });

    test("when complete is stored, and before it is answered", async () => {
      const story = new Story();
      await story.begin();
      await story.writeAll();
      // Sent again it gets the reply of the first.
      expect(await crashAt("fsync", () => story.complete())).toBe(true);
      expect(await checkEnded(story)).toBe("completed");
    });
  });

  describe("after a step", () => {
    const stories = new Map<Step, Story>();
    beforeAll(async () => {
      for (const step of STEPS) stories.set(step, await upTo(step));
      await daemon.kill();
      await daemon.start();
    });
    test.each(STEPS)("%s", async (step) => {
      const story = stories.get(step) as Story;
      if (step !== "complete") expect(await answered(story.complete())).toBe(false);
      expect(await checkEnded(story)).toBe(step === "complete" ? "completed" : "failed");
    });
  });
});

describe("kill -9 of the agent's process", () => {
  const PROGRAM = fileURLToPath(new URL("fixtures/turn-agent.ts", import.meta.url));

  /** A process of the agent that does one line at a time. */
  async function start(
    session: string,
  ): Promise<{ child: ChildProcess; hears: (what: string) => Promise<void>; say: (line: string) => void }> {
    const child = spawn(process.execPath, [...NODE_FLAGS, PROGRAM, daemon.home, AGENT, session, "1"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const lines = createInterface({ input: child.stdout as NonNullable<typeof child.stdout> })[Symbol.asyncIterator]();
    const hears = async (what: string): Promise<void> => {
      for (let line = await lines.next(); line.value !== what; line = await lines.next()) {
        if (line.done === true) throw new Error("the agent's process has ended");
      }
    };
    await hears("ready");
    return { child, hears, say: (line) => void child.stdin?.write(`${line}\n`) };
  }

  const steps = ["begin", ...Array.from({ length: WRITES }, (_, i) => `write ${i + 1}`), "complete"];
  const points = steps.flatMap((step) => [`before ${step} is answered`, `after ${step}`]);
  test.concurrent.each([...points, "in the midst of what is stored in the background"])("%s", async (point) => {
    const session = `s-agent-${point.replaceAll(" ", "-")}`;
    const prefix = `/${session}/`;
    const { child, hears, say } = await start(session);
    let written = 0;
    for (const step of steps) {
      say(step.startsWith("write") ? `${prefix}${written++}` : step);
      await hears("sent");
      if (point === `before ${step} is answered`) break;
      await hears("answered");
      if (point === `after ${step}`) break;
      if (point.includes("background") && written === WRITES) {
        await new Promise((resolve) => setTimeout(resolve, 500));
        break;
      }
    }
    child.kill("SIGKILL");
    await once(child, "exit");
    const completed = point === "after complete";
    const kind = await checkEnded({ session, prefix, written, completed });
    if (!point.includes("complete")) expect([null, "failed"]).toContain(kind);
    if (!point.startsWith("before begin")) expect(kind).not.toBeNull();
  });
});

describe("kill -9 of nats-server", () => {
  let proxy: HoldProxy;
  let remote: Vlinder;

  beforeAll(async () => {
    proxy = await HoldProxy.open(Number(new URL(daemon.url).port));
    const creds = daemon.agentCreds(AGENT);
    remote = await stage.sdk(daemon, AGENT, { url: proxy.url, creds, retries: 30, timeout: 3000 });
  });
  afterAll(() => proxy.close());

  async function kill(): Promise<void> {
    const pid = daemon.natsPid as number;
    endAll([pid]);
    await until("another one runs", () => daemon.natsPid !== null && daemon.natsPid !== pid);
  }

  async function isLast({ session }: Story, kind: string): Promise<boolean> {
    const { items } = await admin.request(AGENT, "session.list", { limit: 1000 });
    return items.find((one) => one.session === session)?.last.kind === kind;
  }

  /** The turn goes on as if nothing had happened: each request is sent again until it is answered. */
  async function goesOn(story: Story, done: Step): Promise<void> {
    for (const step of STEPS.slice(STEPS.indexOf(done) + 1)) await perform(story, step);
    expect(await checkEnded(story)).toBe("completed");
  }

  describe("before a request arrives", () => {
    const stories = new Map<Step, { story: Story; request: Promise<void> }>();
    beforeAll(async () => {
      const all = await Promise.all(STEPS.map(async (step) => [step, await upTo(step, remote, false)] as const));
      // It does nothing until the server is gone.
      process.kill(daemon.pid, "SIGSTOP");
      for (const [step, story] of all) stories.set(step, { story, request: perform(story, step) });
      await new Promise((resolve) => setTimeout(resolve, 50));
      endAll([daemon.natsPid as number]);
      process.kill(daemon.pid, "SIGCONT");
    });
    test.each(STEPS)("%s", async (step) => {
      const { story, request } = stories.get(step) as { story: Story; request: Promise<void> };
      await request;
      await goesOn(story, step);
    });
  });

  describe("when a request is done, and before it is answered", () => {
    const stories = new Map<Step, { story: Story; request: Promise<void> }>();
    beforeAll(async () => {
      const all = await Promise.all(STEPS.map(async (step) => [step, await upTo(step, remote, false)] as const));
      proxy.hold();
      for (const [step, story] of all) stories.set(step, { story, request: perform(story, step) });
      for (const [step, story] of all) {
        if (step === "begin") await until("it has begun", () => isLast(story, "open"));
        if (step === "complete") await until("it is completed", () => isLast(story, "completed"));
      }
      await kill();
      proxy.pass();
    });
    test.each(STEPS)("%s", async (step) => {
      const { story, request } = stories.get(step) as { story: Story; request: Promise<void> };
      await request;
      await goesOn(story, step);
    });
  });

  describe("after a step", () => {
    const stories = new Map<Step, Story>();
    beforeAll(async () => {
      for (const step of STEPS) stories.set(step, await upTo(step, remote));
      await kill();
    });
    test.each(STEPS)("%s", async (step) => {
      await goesOn(stories.get(step) as Story, step);
    });
  });
});

test("nothing is damaged, and no note of an open turn is left", async () => {
  expect(await admin.request(AGENT, "timeline.verify", {}, { timeout: 60_000 })).toMatchObject({ ok: true });
  const { items } = await admin.request(AGENT, "session.list", { limit: 1000 });
  expect(items.filter(({ last }) => last.kind === "open")).toEqual([]);
  expect(await daemon.stop()).toBe(0);
  const path = `${daemon.home}/agents/${AGENT}/objects.db`;
  const storage = await openObjectStorage({ scheme: "sqlite", path, uri: `sqlite://${path}`, durability: "process" });
  expect(await storage.notes("turn/")).toEqual([]);
  await storage.close();
});
