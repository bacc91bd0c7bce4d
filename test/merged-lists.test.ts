import path from "node:path";
import { beforeAll, expect, test } from "vitest";
import { documentOf, type Ran, vlinder } from "../daemon/test/cli/harness.ts";
import { newStage, SYNC_BY_HAND } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";

const root = path.dirname(import.meta.dirname);
const stage = newStage();

/** A machine as a person has it: a home, and what is typed there. */
class Machine {
  readonly daemon: TestDaemon;

  constructor(daemon: TestDaemon) {
    this.daemon = daemon;
  }

  get #env(): NodeJS.ProcessEnv {
    return { VLINDER_HOME: this.daemon.home, VLINDER_URL: "", VLINDER_CREDS: "" };
  }

  async #ran(words: readonly string[]): Promise<Ran> {
    // The command line finds the daemon by its process's environment.
    Object.assign(process.env, this.#env);
    return await vlinder(words);
  }

  async vlinder(...words: string[]): Promise<string> {
    const { code, out, err } = await this.#ran(words);
    expect([code, err], words.join(" ")).toEqual([0, ""]);
    return out;
  }

  async json(...words: string[]): Promise<Record<string, unknown>> {
    return documentOf(await this.#ran([...words, "--json"]));
  }

  /** A turn of the agent, which the daemon started. */
  async todo(...words: string[]): Promise<string> {
    return await this.vlinder("run", "todo", "-m", words.join(" "));
  }

  async sync(): Promise<string> {
    const pulled = await this.vlinder("sync", "pull");
    await this.vlinder("sync", "push");
    return pulled;
  }

  async state(): Promise<unknown> {
    return (await this.json("agent", "show", "todo"))["state"];
  }
}

let laptop: Machine;
let desk: Machine;

beforeAll(async () => {
  const bucket = `file://${await stage.path("bucket")}`;
  laptop = new Machine(await stage.daemon(SYNC_BY_HAND));
  desk = new Machine(await stage.daemon(SYNC_BY_HAND));
  await laptop.vlinder("agent", "add", path.join(root, "agents/todo"));
  await laptop.todo("add", "buy", "milk");
  await laptop.vlinder("init", bucket);
  await laptop.vlinder("sync", "push");
  await desk.vlinder("clone", bucket);
  await desk.vlinder("agent", "add", path.join(root, "agents/todo"));
}, 120_000);

/** Each hears of the other, and both are the same then. */
async function meet(): Promise<string> {
  await laptop.sync();
  const pulled = await desk.sync();
  await laptop.sync();
  expect(await laptop.state()).toBe(await desk.state());
  return pulled;
}

test("two machines that each add a todo end with both", { timeout: 120_000 }, async () => {
  await laptop.todo("add", "call", "Ann");
  await desk.todo("add", "fix", "the", "bike");
  expect(await meet()).not.toContain("conflicts");
  const all = "1 [ ] buy milk\n 2 [ ] call Ann\n 3 [ ] fix the bike\n";
  expect(await laptop.todo("list")).toContain(all);
  expect(await desk.todo("list")).toContain(all);

  await laptop.todo("done", "2");
  await desk.todo("done", "1");
  await desk.todo("add", "water", "the", "plants");
  await meet();
  expect(await laptop.todo("list")).toBe(
    " 1 [x] buy milk\n 2 [x] call Ann\n 3 [ ] fix the bike\n 4 [ ] water the plants\n",
  );
});

test(
  "what both decided differently is told where it is merged, with the way to the other",
  { timeout: 120_000 },
  async () => {
    await laptop.vlinder("kv", "put", "todo", "/todos.json", '{"mood":"good"}');
    await laptop.vlinder("kv", "put", "todo", "/motto", "less");
    await desk.sync();
    await laptop.sync();
    await desk.sync();
    await laptop.vlinder("kv", "put", "todo", "/todos.json", '{"mood":"better"}');
    await desk.vlinder("kv", "put", "todo", "/todos.json", '{"mood":"best"}');
    await desk.vlinder("kv", "put", "todo", "/motto", "more");
    const pulled = await meet();
    expect(pulled).toMatch(/merged/);
    const [, hint = ""] = /what was decided: vlinder (show todo \w+)/.exec(pulled) ?? [];
    const shown = await laptop.vlinder(...hint.split(" "));
    expect(shown).toMatch(/1 key changed on both sides/);
    expect(shown).toMatch(/\/todos\.json {2}merged; at \/mood [0-9a-f]{7} +--at [0-9a-f]{7}\n/);
    const [, other = ""] = /vlinder (kv get todo \/todos\.json --at \w+)/.exec(shown) ?? [];
    expect(await laptop.vlinder(...other.split(" "))).toBe('{"mood":"better"}');
  },
);

test("a fork is tried, chosen and brought back by hand", { timeout: 120_000 }, async () => {
  await laptop.vlinder("fork", "todo", "--name", "plan");
  await laptop.vlinder("kv", "put", "todo", "/motto", "ours");
  await laptop.vlinder("kv", "put", "todo", "/motto", "theirs", "--branch", "plan");
  const before = await laptop.state();
  const dry = await laptop.vlinder("merge", "todo", "plan", "--dry-run");
  expect(dry).toContain("would merge plan into main; nothing was changed\n1 key changed on both sides:\n");
  expect(dry).toMatch(/\/motto {2}theirs, the newer {2}\/motto\.conflict-[0-9a-f]{16}\n/);
  expect(await laptop.state()).toBe(before);

  expect(await laptop.json("merge", "todo", "plan", "--dry-run", "--ours")).toMatchObject({
    kind: "merge",
    state: before,
    ours: before,
    conflicts: [{ key: "/motto", policy: "keep-both", from: "ours", kept: null }],
  });
  expect(await laptop.json("merge", "todo", "plan", "--ours", "--theirs")).toMatchObject({
    error: { code: "invalid" },
  });
  const merged = await laptop.vlinder("merge", "todo", "plan", "--ours");
  expect(merged).toMatch(/^merged plan into main; state [0-9a-f]{7}\n/);
  expect(await laptop.vlinder("kv", "get", "todo", "/motto")).toBe("ours");
  const [, other = ""] = /see the other: vlinder (.*)\n/.exec(merged) ?? [];
  expect(await laptop.vlinder(...other.split(" "))).toBe("theirs");
  expect(await laptop.vlinder("show", "todo", "main")).toContain("prefer");

  const [, undo = ""] = /undo: vlinder (.*)\n/.exec(merged) ?? [];
  await laptop.vlinder(...undo.split(" "));
  await laptop.vlinder("merge", "todo", "plan", "--theirs");
  await meet();
  expect(await laptop.vlinder("verify", "todo")).toContain("all intact");
});
