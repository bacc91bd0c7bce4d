import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { documentOf, PROGRAM, type RunningDaemon, startDaemon, temporary, vlinder } from "./harness.ts";
import { NO_TERMINAL, TerminalProgram } from "./terminal.ts";

const SERVED = new URL("served-agent.ts", import.meta.url).pathname;

let folder: Awaited<ReturnType<typeof temporary>>;
let daemon: RunningDaemon;
let agent: ChildProcess;

beforeAll(async () => {
  folder = await temporary();
  process.env["VLINDER_HOME"] = join(folder.path, "home");
  daemon = await startDaemon(process.env["VLINDER_HOME"]);
  const dir = join(folder.path, "talker");
  await vlinder(["agent", "new", dir]);
  await writeFile(join(dir, "agent.toml"), 'name = "talker"\nobject_storage = "sqlite://objects.db"\n');
  await vlinder(["agent", "add", dir]);
  agent = spawn(process.execPath, [SERVED, "talker"], { stdio: ["ignore", "pipe", "inherit"] });
  await once(agent.stdout as NonNullable<typeof agent.stdout>, "data");
}, 60_000);

afterAll(async () => {
  agent?.kill("SIGTERM");
  if (agent?.exitCode === null) await once(agent, "exit");
  await daemon?.stop();
  await folder?.remove();
});

const say = (text: string, ...more: string[]) => vlinder(["run", "talker", "-m", text, ...more]);

describe("one message", () => {
  test("the output goes to standard output, and nothing else does", async () => {
    expect(await say("hello")).toMatchObject({ code: 0, out: 'you said "hello"\n', err: "" });
  });

  test("with --json it is the reply, with the turn and the state", async () => {
    const document = documentOf(await say("stream one two", "--json"));
    expect(document).toMatchObject({ kind: "completed", output: "one two", branch: "main", kept: null });
  });

  test.each([
    ["what was emitted is not written again", "stream one two three", "one two three\n"],
    ["an output that is something else follows on its own line", "preview the answer", "thinking…\nthe answer\n"],
    ["without an output the parts stand for it", "only-parts half", "half\n"],
    ["control characters reach a program as they are", "steer", "\x1b[31mred\x1b[0m\r\nline\n"],
  ])("%s", async (_what, input, out) => {
    expect(await say(input)).toMatchObject({ code: 0, out });
  });

  test("a terminal is not steered, and is told of the turn", async () => {
    const steered = await vlinder(["run", "talker", "-m", "steer"], { tty: true, env: { NO_COLOR: "1" } });
    expect(steered.out).toBe("\\x1b[31mred\\x1b[0m\nline\n");
    expect(steered.err).toMatch(/t-\w+  state [0-9a-f]{7}  \d+\.\d s\n$/);
    const binary = await vlinder(["run", "talker", "-m", "bytes"], { tty: true });
    expect(binary.out).toBe("not text: 3 B; for all of it: --json, or > FILE\n");
  });

  test("bytes are written as they are", async () => {
    expect((await say("bytes")).bytes).toEqual(Buffer.from([0, 255, 27]));
  });

  test("parts are there before the turn is over, in the real process", async () => {
    const child = spawn(process.execPath, [PROGRAM, "run", "talker", "-m", "wait"]);
    const first = (await once(child.stdout, "data")) as [Buffer];
    expect(first[0].toString("utf8")).toBe("waiting");
    let err = "";
    child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString("utf8")));
    child.kill("SIGINT");
    expect(await once(child, "exit")).toEqual([1, null]);
    expect(err).toContain("failed: cancelled with Ctrl-C");
  }, 30_000);

  test("the message comes from standard input, without its last line end, or from a file as it is", async () => {
    const stdin = () => [Buffer.from("two\nlines\r\n")];
    const said = 'you said "two\\nlines"\n';
    expect((await vlinder(["run", "talker"], { stdin: stdin() })).out).toBe(said);
    expect((await vlinder(["run", "talker", "-m", "-"], { stdin: stdin() })).out).toBe(said);
    const file = join(folder.path, "message");
    await writeFile(file, "kept\n");
    expect((await say(`@${file}`)).out).toBe('you said "kept\\n"\n');
    expect((await say(`@${file}.not`)).code).toBe(2);
  });

  test("a turn that failed: exit code 1, the reason, and what to do with what it did", async () => {
    const { code, out, err } = await say("throw no model");
    expect([code, out]).toEqual([1, ""]);
    const [, kept = ""] = /kept on the branch (turn\/t-\w+)/.exec(err) ?? [];
    expect(err).toContain("failed: no model");
    expect(err).toContain(`vlinder diff talker main ${kept}`);
    expect((await vlinder(["diff", "talker", "main", kept])).out).toContain("/thrown");
    const ran = await say("throw no model", "--json");
    expect([ran.code, documentOf(ran)]).toMatchObject([1, { kind: "failed", reason: "no model" }]);
  });

  test("a conflict is told as one", async () => {
    const { code, err } = await say("conflict");
    expect(code).toBe(1);
    expect(err).toContain("conflict: the key /contested has been changed");
    expect(err).toContain("ask again: it then works on what is there now");
    expect((await vlinder(["kv", "get", "talker", "/contested"])).out).toBe("theirs");
  });

  test("branch and session go with it", async () => {
    await vlinder(["fork", "talker", "--name", "aside"]);
    const first = documentOf(await say("stream one", "--session", "s-mine", "--branch", "aside", "--json"));
    expect(first).toMatchObject({ session: "s-mine", branch: "aside" });
    expect((await say("history", "--session", "s-mine", "--branch", "aside")).out).toBe("stream one\n");
    expect((await say("x", "--branch", "nowhere")).code).toBe(1);
  });

  test("wrong usage: no terminal for a session, no message", async () => {
    const asked = await vlinder(["run", "talker"], { tty: true });
    expect([asked.code, asked.err]).toEqual([2, expect.stringContaining("give the one message: -m TEXT")]);
    expect((await vlinder(["run", "talker", "--json"], { tty: true })).code).toBe(2);
    expect((await say("x", "--session", "")).code).toBe(2);
  });

  test("no daemon: exit code 3", async () => {
    const nowhere = { VLINDER_URL: "nats://127.0.0.1:1", VLINDER_HOME: join(folder.path, "nowhere") };
    for (const [name, value] of Object.entries(nowhere)) process.env[name] = value;
    try {
      const { code, err } = await say("x");
      expect([code, err]).toEqual([3, expect.stringContaining("start it: `vlinderd`")]);
    } finally {
      delete process.env["VLINDER_URL"];
      process.env["VLINDER_HOME"] = join(folder.path, "home");
    }
  });
});

// Without `script` and Python there is no terminal to be had: the line editor's own tests run everywhere.
describe.skipIf(NO_TERMINAL !== null)("a session in a terminal", () => {
  const talk = (...more: string[]): TerminalProgram => {
    const program = new TerminalProgram([process.execPath, PROGRAM, "run", "talker", ...more], { NO_COLOR: "1" });
    onTestFinished(() => program.kill());
    return program;
  };

  test("message by message, over two of them: where it begins, what is said, and how it goes on", async () => {
    const first = talk();
    expect(await first.reads("/help")).toMatch(/talker  branch main at [0-9a-f]{7}(, .*)?\r\nsession (s-\w+): new\r\n/);
    await first.reads("> ");
    first.type("stream one two\r");
    await first.reads(/\r\none two\r\nt-\w+ {2}state [0-9a-f]{7} {2}\d+\.\d s\r\n/);
    await first.reads("> ");
    first.type('"""\r');
    await first.reads(". ");
    first.type('two\rlines"""\r');
    await first.reads('you said "two\\nlines"\r\n');
    await first.reads("> ");
    first.type("throw no luck\r");
    await first.reads("failed: no luck");
    await first.reads("> ");
    first.type("/state\r");
    await first.reads(/branch main at [0-9a-f]{7}/);
    first.type("/session\r");
    const [, session = ""] = /(s-\w+): 3 turns/.exec(await first.reads(/s-\w+: 3 turns/)) ?? [];
    first.type("/nonsense\r");
    await first.reads("there is no /nonsense");
    await first.reads("> ");
    first.type("\x04");
    await first.reads(`go on with it: vlinder run talker --session ${session}`);
    expect(await first.exited()).toBe(0);

    const second = talk("--session", session);
    const opening = await second.reads("/help");
    expect(opening).toContain(`session ${session}: 3 turns before, the last `);
    expect(opening).toContain("  > stream one two\r\n  one two\r\n  > two\r\n  > lines\r\n");
    expect(opening).toContain("  > throw no luck\r\n  failed: no luck\r\n");
    await second.reads("> ");
    second.type("\x1b[A\x1b[A\x1b[A\x1b[A\r"); // over /nonsense, /session and /state, to the last message
    await second.reads("failed: no luck");
    await second.reads("> ");
    second.type("history\r");
    await second.reads("\r\nstream one two|two\r\nlines\r\n");
    second.type("/quit\r");
    expect(await second.exited()).toBe(0);
  }, 60_000);

  test("Ctrl-C cancels the turn and comes back to the prompt, with what was typed meanwhile", async () => {
    const program = talk();
    await program.reads("> ");
    program.type("half a line\x03");
    await program.reads("^C");
    program.type("wait\r");
    await program.reads("\r\nwaiting");
    program.type("next");
    program.type("\x03");
    await program.reads("failed: cancelled with Ctrl-C");
    await program.reads("> next");
    program.type(" one\r");
    await program.reads('you said "next one"');
    await program.reads("> ");
    program.type("\x04");
    expect(await program.exited()).toBe(0);
  }, 60_000);

  test("a daemon that is gone need not be waited for, and the session is still there", async () => {
    const program = talk();
    await program.reads("> ");
    await daemon.stop();
    program.type("hello\r");
    await program.reads("hello\r");
    program.type("\x03\x03");
    await program.reads("nobody waits for the turn any more; it may still go on");
    daemon = await startDaemon(process.env["VLINDER_HOME"] as string);
    await program.reads("> ");
    // The agent's own connection takes its time, too.
    program.type("hello again\r");
    await program.reads('you said "hello again"');
    program.type("\x04");
    expect(await program.exited()).toBe(0);
  }, 90_000);
});

test("the README's agent does what the README says", async () => {
  const readme = await readFile(new URL("../../../README.md", import.meta.url), "utf8");
  const [, code = ""] = /^```ts\n(\/\/ agents\/shopping\/main\.ts.*?)^```$/ms.exec(readme) ?? [];
  const [, toml = ""] = /an agent\.toml with (name = "shopping")/.exec(code) ?? [];
  const dir = join(folder.path, "shopping");
  await mkdir(dir);
  await writeFile(join(dir, "agent.toml"), `${toml}\nobject_storage = "sqlite://objects.db"\n`);
  expect((await vlinder(["agent", "add", dir])).code).toBe(0);
  // In the workspace, since that is where "@vlinder/agent-runtime" is found.
  const place = await mkdtemp(fileURLToPath(new URL(".readme-", import.meta.url)));
  onTestFinished(() => rm(place, { recursive: true }));
  await writeFile(join(place, "main.ts"), code);
  const shopping = spawn(process.execPath, [join(place, "main.ts")], { stdio: "ignore" });
  onTestFinished(() => void shopping.kill());
  const buy = (what: string) => vlinder(["run", "shopping", "-m", what]);
  expect(await buy("milk")).toMatchObject({ code: 0, out: "- milk\n" });
  expect(await buy("eggs")).toMatchObject({ code: 0, out: "- milk\n- eggs\n" });
  expect(await buy("")).toMatchObject({ code: 1, err: expect.stringContaining("failed: nothing to buy") });
  const { out } = await vlinder(["log", "shopping", "-n", "3"]);
  expect(out).toMatch(/complete .* s-\w+\/t-\w+\n.*kv\.put .*\n.*invoke /);
  expect(readme).toContain("$ npx vlinder run shopping -m milk\n- milk\n");
});

describe("sessions", () => {
  test("are listed, the newest first, and read turn by turn", async () => {
    await say("stream one", "--session", "s-read");
    await say("throw that went wrong", "--session", "s-read");
    const [newest] = documentOf(await vlinder(["session", "list", "talker", "--json"]))["items"] as object[];
    expect(newest).toMatchObject({ session: "s-read", turns: 2, last: { kind: "failed" } });
    expect((await vlinder(["session", "list", "talker", "-n", "1"])).out).toMatch(
      /^session +turns .*\ns-read +2 .*failed.*\nmore: give a larger --limit\n$/,
    );
    const got = documentOf(await vlinder(["session", "get", "talker", "s-read", "--json"]));
    expect(got).toMatchObject({
      session: "s-read",
      turns: 2,
      items: [
        { kind: "completed", input: { value: "stream one" }, output: { value: "one" } },
        { kind: "failed", reason: "that went wrong" },
      ],
    });
    const { out } = await vlinder(["session", "get", "talker", "s-read"]);
    expect(out).toMatch(
      /completed.*\n  > stream one\n  one\nt-.*failed.*\n  > throw that went wrong\n  that went wrong\n/,
    );
    const one = await vlinder(["session", "get", "talker", "s-read", "-n", "1"]);
    expect(one.out).not.toContain("stream one");
    expect(one.out).toContain("the newest 1 of 2 turns; go on with it: vlinder run talker --session s-read");
    expect((await vlinder(["session", "get", "talker", "s-none"])).code).toBe(1);
  });
});
