import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { setImmediate as later } from "node:timers/promises";
import { parseAgentName } from "@vlinder/protocol";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { dropHistory, HISTORY, LineHistory } from "../../src/cli/talk/line-history.ts";
import { MessageLines, type Said } from "../../src/cli/talk/message-lines.ts";
import { Prompt } from "../../src/cli/talk/prompt.ts";
import { ShownOutput } from "../../src/cli/talk/shown-output.ts";

const TODO = parseAgentName("todo");

describe("lines as messages", () => {
  const said = (...lines: string[]): (Said | null)[] => {
    const editor = new MessageLines();
    return lines.map((line) => editor.take(line, false));
  };
  const last = (...lines: string[]): string | undefined => said(...lines).at(-1)?.text;

  test.each<[string, string[], string | undefined]>([
    ["a line is one", ["hello"], "hello"],
    ["a backslash at the end goes on", ["one \\", "two"], "one \ntwo"],
    ["two are what they are", ["C:\\\\"], "C:\\\\"],
    ["quoted over lines", ['"""', "a\\", "", "/b", '"""'], "a\\\n\n/b"],
    ["quoted from the middle of lines", ['"""one', 'two"""  '], "one\ntwo"],
    ["quoted in one line", ['"""one"""'], "one"],
    ["nothing is none", ["   "], undefined],
    ["nothing quoted is none", ['"""', '"""'], undefined],
    ["quotes within a line are text", ['say """x"""'], 'say """x"""'],
    ["a space before a slash makes it text", [" /etc/hosts"], "/etc/hosts"],
  ])("%s", (_what, lines, message) => {
    expect(last(...lines)).toBe(message);
    expect(
      said(...lines)
        .slice(0, -1)
        .every((one) => one === null),
    ).toBe(true);
  });

  test("a slash begins a command, but not within a message", () => {
    expect(said("/state ")).toEqual([{ kind: "command", text: "/state" }]);
    expect(said("a\\", "/state")).toEqual([null, { kind: "message", text: "a\n/state" }]);
  });

  test("what is pasted is one message, whatever is in it, and ends with Enter", () => {
    const editor = new MessageLines();
    for (const line of ["/first", '"""', "second\\", ""]) expect(editor.take(line, true)).toBeNull();
    expect(editor.isOpen).toBe(true);
    expect(editor.take("", false)).toEqual({ kind: "message", text: '/first\n"""\nsecond\\\n' });
    expect(editor.isOpen).toBe(false);
  });
});

describe("output as it comes", () => {
  const shown = (parts: string[], output: string | Uint8Array | null, terminal = false): string => {
    const chunks: Uint8Array[] = [];
    const stream = new ShownOutput((chunk) => chunks.push(Buffer.from(chunk as Uint8Array)), terminal);
    for (const part of parts) stream.part(part);
    stream.end(typeof output === "string" ? Buffer.from(output) : output);
    return Buffer.concat(chunks).toString("latin1");
  };

  test.each<[string, string[], string | null, string]>([
    ["the parts are the output", ["a", "b"], "ab", "ab\n"],
    ["the parts are its beginning", ["a"], "abc", "abc\n"],
    ["white space at the end is no difference", ["ab\n"], "ab", "ab\n"],
    ["something else", ["thinking"], "done", "thinking\ndone\n"],
    ["something else, after a line", ["thinking\n"], "done\n", "thinking\ndone\n"],
    ["no parts", [], "done", "done\n"],
    ["no output", ["a"], null, "a\n"],
    ["nothing at all", [], null, ""],
    ["an empty output", [], "", ""],
  ])("%s", (_what, parts, output, expected) => {
    expect(shown(parts, output)).toBe(expected);
  });

  test("more parts than an output can have are not kept, and the output follows", () => {
    const part = "x".repeat(600_000);
    expect(shown([part, part], "x")).toBe(`${part}${part}\nx\n`);
  });

  test("a line end that comes in two parts is one; what steers the terminal is written out", () => {
    expect(shown(["a\r", "\nb\x1b[2J"], null, true)).toBe("a\nb\\x1b[2J\n");
    expect(shown(["a\r", "b"], null, true)).toBe("a\\rb\n");
  });
});

describe("the history of what was typed", () => {
  let home = "";
  afterEach(() => rm(home, { recursive: true, force: true }));
  const open = (): Promise<LineHistory> => LineHistory.open(TODO, home);
  const path = (): string => join(home, "history", "todo");

  test("outlives a session, newest first, for its owner only", async () => {
    home = await mkdtemp(join(tmpdir(), "vlinder-history-"));
    const first = await open();
    for (const line of ["one", "one", " ", "two\t2", "\x1b[2J", "x".repeat(HISTORY.characters + 1)]) first.add(line);
    expect(await first.close()).toBeNull();
    expect((await stat(path())).mode & 0o777).toBe(0o600);
    expect((await stat(join(home, "history"))).mode & 0o777).toBe(0o700);
    expect((await open()).lines).toEqual(["two\t2", "one"]);
    await dropHistory(TODO, home);
    expect((await open()).lines).toEqual([]);
  });

  test("is bounded, and closed to others if it was open to them", async () => {
    home = await mkdtemp(join(tmpdir(), "vlinder-history-"));
    await mkdir(join(home, "history"));
    const all = Array.from({ length: 2 * HISTORY.lines + 1 }, (_, i) => `line ${i}`);
    await writeFile(path(), `${all.join("\n")}\n`, { mode: 0o644 });
    const { lines } = await open();
    expect([lines.length, lines[0]]).toEqual([HISTORY.lines, all.at(-1)]);
    expect((await readFile(path(), "utf8")).split("\n")).toHaveLength(HISTORY.lines + 1);
    expect((await stat(path())).mode & 0o777).toBe(0o600);
  });

  test("that can't be kept is said, and stops nobody", async () => {
    home = await mkdtemp(join(tmpdir(), "vlinder-history-"));
    await writeFile(join(home, "history"), "a file");
    const history = await open();
    history.add("one");
    expect(await history.close()).toContain(path());
  });
});

describe("the prompt", () => {
  const typing = (history: string[] = []) => {
    const input = new PassThrough();
    let screen = "";
    const remembered: string[] = [];
    const prompt = new Prompt({
      input,
      output: { columns: 80, write: (chunk) => (screen += Buffer.from(chunk as Uint8Array).toString("utf8")) },
      history,
      remember: (line) => remembered.push(line),
    });
    onTestFinished(() => prompt.close());
    return { prompt, remembered, screen: () => screen, type: (text: string) => void input.write(text), input };
  };

  test("gives what is typed, and remembers the lines", async () => {
    const { prompt, type, remembered, screen } = typing();
    const next = prompt.next();
    type("add milk\\\rand eggs\r");
    expect(await next).toEqual({ kind: "message", text: "add milk\nand eggs" });
    expect(remembered).toEqual(["add milk\\", "and eggs"]);
    expect(screen()).toContain("\x1b[?2004h");
    expect(screen()).toMatch(/\. .*and eggs/s);
  });

  test("arrow up brings lines of earlier sessions", async () => {
    const { prompt, type } = typing(["newest", "older"]);
    const next = prompt.next();
    type("\x1b[A\x1b[A\r");
    expect(await next).toEqual({ kind: "message", text: "older" });
  });

  test("pasted lines are one message", async () => {
    const { prompt, type } = typing();
    const next = prompt.next();
    type("see: \x1b[200~one\r/two\rthree\x1b[201~\r");
    expect(await next).toEqual({ kind: "message", text: "see: one\n/two\nthree" });
  });

  test("Ctrl-C clears what was typed, begun messages too, and ends nothing; Ctrl-D ends", async () => {
    const { prompt, type, screen, input } = typing();
    const next = prompt.next();
    type("one\\\rtwo");
    await later();
    type("\x03");
    await later();
    expect(screen()).toContain("^C\n");
    type("\x03");
    await later();
    expect(screen()).toContain("(Ctrl-D ends)");
    type("three\r");
    expect(await next).toEqual({ kind: "message", text: "three" });
    const end = prompt.next();
    input.write("\x04");
    expect(await end).toBeNull();
    expect(await prompt.next()).toBeNull();
  });

  test("while work is done nothing shows of what is typed; Ctrl-C interrupts, the rest comes after", async () => {
    const { prompt, type, screen } = typing();
    let interrupts = 0;
    let before = "";
    await prompt.during(
      () => interrupts++,
      async () => {
        before = screen();
        type("typed ahead\rand a beginn\x03");
        await later();
        expect(screen()).toBe(before);
      },
    );
    expect(interrupts).toBe(1);
    expect(await prompt.next()).toEqual({ kind: "message", text: "typed ahead" });
    expect(screen().slice(before.length)).toBe("> typed ahead\n");
    const next = prompt.next();
    type("ing\r");
    expect(await next).toEqual({ kind: "message", text: "and a beginning" });
    expect(process.listenerCount("SIGINT")).toBe(0);
  });

  test("gives the terminal back as it was", () => {
    const { prompt, screen } = typing();
    prompt.close();
    expect(screen()).toContain("\x1b[?2004l");
  });
});
