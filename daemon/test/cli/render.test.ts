import { describe, expect, test } from "vitest";
import { type AgentName, type ConflictItem, type Hash, VlinderError } from "@vlinder/protocol";
import { bucketUri } from "../../src/cli/bucket-uri.ts";
import { errorLines, exitCodeOf, UnreachableError, usageError } from "../../src/cli/failure.ts";
import { renderBlocks, renderJson } from "../../src/cli/outcome.ts";
import { callFacts, callText } from "../../src/cli/render/call.ts";
import { conflictBlocks } from "../../src/cli/render/conflicts.ts";
import { paint, red, wantsColor, yellow } from "../../src/cli/render/color.ts";
import { barOf, ProgressBar } from "../../src/cli/render/progress.ts";
import { shellQuoted } from "../../src/cli/render/shell.ts";
import { count, counted, size } from "../../src/cli/render/size.ts";
import { plain, textOf, widthOf } from "../../src/cli/render/text.ts";
import { ago, duration } from "../../src/cli/render/time.ts";

describe("sizes and numbers", () => {
  test.each([
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.0 kB"],
    [1234, "1.2 kB"],
    [99_949, "99.9 kB"],
    [123_456, "123 kB"],
    [999_499, "999 kB"],
    [999_500, "1.0 MB"],
    [6_400_000, "6.4 MB"],
    [5e15, "5.0 PB"],
    [5e18, "5000 PB"],
  ])("%d bytes are %s", (bytes, text) => expect(size(bytes)).toBe(text));

  test("thousands are set apart", () => {
    expect([count(7), count(1930), count(1_000_000)]).toEqual(["7", "1,930", "1,000,000"]);
    expect([counted(1, "key"), counted(2, "key"), counted(0, "branch", "branches")]).toEqual([
      "1 key",
      "2 keys",
      "0 branches",
    ]);
  });
});

describe("times", () => {
  const now = Date.parse("2026-11-21T12:00:00.000Z");
  test.each([
    ["2026-11-21T11:59:59.500Z", "now"],
    ["2026-11-21T11:59:56.000Z", "4 s ago"],
    ["2026-11-21T11:58:00.000Z", "2 min ago"],
    ["2026-11-21T11:00:00.000Z", "1 h ago"],
    ["2026-11-09T11:00:00.000Z", "12 d ago"],
    ["2026-10-01T00:00:00.000Z", "2026-10-01"],
    ["2026-11-21T12:00:30.000Z", "now"],
    ["2026-11-21T12:05:00.000Z", "5 min ahead"],
    ["not a time", "not a time"],
    [null, ""],
  ])("%s is %s", (time, text) => expect(ago(time, now)).toBe(text));

  test("durations are in the largest unit that fits", () => {
    expect([duration(0), duration(59.9), duration(60), duration(7200), duration(200_000)]).toEqual([
      "0 s",
      "59 s",
      "1 min",
      "2 h",
      "2 d",
    ]);
  });
});

describe("what comes from outside steers no terminal", () => {
  const attacks = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b31mred", // CSI in one character
    "over\rwritten",
    "two\nlines",
    "\x7f\b",
    "abc\u202egnp.exe", // shown as abcexe.png
    "\u2066\u2069\u200b\ufeff\u2028",
  ];
  // oxlint-disable-next-line no-control-regex
  const dangerous = /[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;

  test.each(attacks)("%j", (text) => {
    expect(plain(text)).not.toMatch(dangerous);
    const table = { columns: [{ head: text }, { head: "b" }], rows: [[text, red(text)]] };
    for (const color of [false, true]) {
      const shown = renderBlocks([text, [text, yellow(text)], table], color);
      // oxlint-disable-next-line no-control-regex
      const withoutOurs = shown.replace(/\x1b\[(?:1|2|22|31|33|39)m/g, "").replaceAll("\n", "");
      expect(withoutOurs).not.toMatch(dangerous);
      expect(shown.split("\n")).toHaveLength(5);
    }
    const error = new VlinderError("invalid", text, { remedy: text, details: { problems: [text, text] } });
    expect(renderBlocks(errorLines(error), false).replaceAll("\n", "")).not.toMatch(dangerous);
    const json = renderJson({ [text]: text });
    expect(json.slice(0, -1)).not.toMatch(dangerous);
    expect(JSON.parse(json)).toEqual({ [text]: text });
  });

  test("our own colour survives, theirs does not", () => {
    expect(paint(["a", red("b\x1b[0m")], true)).toBe("a\x1b[31mb\\x1b[0m\x1b[39m");
    expect(paint(["a", red("b")], false)).toBe("ab");
  });

  test("text that only shows is left as it is", () => {
    for (const text of ["/notes/ann.md", "grüße, 日本語 👩‍👧", "a\\nb"]) expect(plain(text)).toBe(text);
  });

  test("a lone surrogate is no way out", () => expect(plain("\ud800")).toBe("\ufffd"));
});

describe("tables", () => {
  test("columns line up, numbers at the right, wide characters counted", () => {
    const table = {
      columns: [{ head: "key" }, { head: "size", right: true }, { head: "hash" }],
      rows: [
        ["/a", "5 B", "x"],
        ["/日本", "12 kB", "y"],
      ],
    };
    expect(renderBlocks([table], false)).toBe("key     size  hash\n/a       5 B  x\n/日本  12 kB  y\n");
  });

  test("colour changes no width", () => {
    const rows = [
      [red("a"), "b"],
      ["cc", yellow("d")],
    ];
    const table = { columns: [{}, {}], rows };
    // oxlint-disable-next-line no-control-regex
    expect(renderBlocks([table], true).replace(/\x1b\[\d+m/g, "")).toBe(renderBlocks([table], false));
  });

  test("an empty column is left out, and a long cell moves only its own row", () => {
    const long = "/".padEnd(200, "k");
    const table = {
      columns: [{ head: "key" }, { head: "never" }, { head: "size" }],
      rows: [
        [long, "", "1 B"],
        ["/a", "", "2 B"],
      ],
    };
    expect(renderBlocks([table], false)).toBe(`key  size\n${long}  1 B\n/a   2 B\n`);
  });

  test("widths of characters", () => {
    expect([widthOf("abc"), widthOf("日本"), widthOf("e\u0301"), widthOf("✅"), widthOf("ü")]).toEqual([3, 4, 1, 2, 1]);
  });
});

describe("colour", () => {
  test.each([
    [{ isTTY: true }, {}, true],
    [{ isTTY: true }, { NO_COLOR: "" }, true],
    [{ isTTY: true }, { NO_COLOR: "1" }, false],
    [{ isTTY: true }, { TERM: "dumb" }, false],
    [{ isTTY: false }, {}, false],
    [{}, {}, false],
  ])("on %j with %j: %s", (stream, env, wanted) => expect(wantsColor(stream, env)).toBe(wanted));
});

describe("progress", () => {
  const progress = { what: "push", done: 512, total: 1024, unit: "bytes" } as const;

  test("nothing goes to a pipe", () => {
    const written: string[] = [];
    const bar = new ProgressBar({ write: (text) => written.push(text) });
    bar.show(progress);
    bar.end();
    expect(written).toEqual([]);
  });

  test("a terminal gets a bar at most ten times a second, and is clean afterwards", () => {
    const written: string[] = [];
    let now = 0;
    const bar = new ProgressBar({ isTTY: true, write: (text) => written.push(text) }, () => now);
    for (; now < 1000; now += 10) bar.show(progress);
    bar.end();
    bar.end();
    expect(written).toHaveLength(11);
    expect(written[0]).toContain("50 %");
    expect(written.at(-1)).toBe("\r\x1b[K");
  });

  test("a bar says how fast it goes and how long it will take, once that can be told", () => {
    const written: string[] = [];
    let now = 0;
    const bar = new ProgressBar({ isTTY: true, write: (text) => written.push(text) }, () => now);
    const total = 1_000_000_000;
    const shown = (done: number, what = "pulling todo"): string => {
      bar.show({ what, done, total, unit: "bytes" });
      return written.at(-1) ?? "";
    };
    // 20 MB/s from here on, in lumps; what was done before does not count: a clone that goes on.
    expect(shown(400_000_000)).toMatch(/40 % {2}400 MB of 1.0 GB$/);
    now = 500;
    expect(shown(410_000_000)).toMatch(/of 1.0 GB$/);
    for (let second = 1; second <= 10; second++) {
      now = second * 1000;
      shown(400_000_000 + second * 20_000_000, second > 5 ? "pulling notes" : "pulling todo");
    }
    expect(written.at(-1)).toMatch(/60 % {2}600 MB of 1.0 GB {2}20.0 MB\/s {2}20 s left$/);
    // Then nothing for a while: the rate falls, and the time goes up.
    now = 14_000;
    expect(shown(600_000_000)).toMatch(/ 4.9 MB\/s {2}1 min left$/);
    // Another thing begins anew.
    now = 14_200;
    expect(shown(0)).toMatch(/0 B of 1.0 GB$/);
  });

  test("a rate of things that are counted, with no end known; and none of seconds", () => {
    const written: string[] = [];
    let now = 0;
    const bar = new ProgressBar({ isTTY: true, write: (text) => written.push(text) }, () => now);
    for (; now <= 2000; now += 200) bar.show({ what: "verify", done: now, total: null, unit: "objects" });
    expect(written.at(-1)).toMatch(/2,000 objects {2}1,000\/s$/);
    for (; now <= 5000; now += 200) bar.show({ what: "turn", done: now / 1000, total: null, unit: "seconds" });
    expect(written.at(-1)).toMatch(/seconds$/);
  });

  test("what a bar says", () => {
    expect(barOf(progress)).toBe(`push  ${"█".repeat(12)}${"░".repeat(12)}  50 %  512 B of 1.0 kB`);
    expect(barOf({ what: "ver\x1bify", done: 1930, total: null, unit: "commits" })).toBe("ver\\x1bify  1,930 commits");
    expect(barOf({ ...progress, done: 5000 })).toContain("100 %");
  });
});

describe("errors", () => {
  test("message, code and remedy, with every problem and every line", () => {
    const error = new VlinderError("invalid", "a.toml:1:1: one (and 1 more)", {
      remedy: "correct it\nor not",
      details: { problems: ["a.toml:1:1: one", "a.toml:2:1: two"] },
    });
    expect(renderBlocks(errorLines(error), false)).toBe(
      "error: a.toml:1:1: one (and 1 more) [invalid]\n       a.toml:2:1: two\n  what to do: correct it\n  or not\n",
    );
  });

  test("each kind has its exit code", () => {
    expect(exitCodeOf(usageError("error: unknown option '--x'\n(Did you mean --y?)", "see help"))).toBe(2);
    expect(exitCodeOf(new UnreachableError(new VlinderError("unavailable", "nobody")))).toBe(3);
    expect(exitCodeOf(new VlinderError("unavailable", "no bucket"))).toBe(1);
    expect(exitCodeOf(new VlinderError("invalid", "agent.toml:1:1"))).toBe(1);
  });

  test("commander's hint becomes the remedy", () => {
    const error = usageError("error: unknown option '--x'\n(Did you mean --y?)", "see help");
    expect([error.message, error.remedy]).toEqual(["unknown option '--x'", "Did you mean --y?"]);
  });
});

test("what is text", () => {
  expect(textOf(Buffer.from("grün"))).toBe("grün");
  expect(textOf(Buffer.from([0xff, 0xfe]))).toBeNull();
  expect(textOf(Buffer.from("a\0b"))).toBeNull();
});

test("words for a shell", () => {
  expect(shellQuoted("/home/me/a.creds")).toBe("/home/me/a.creds");
  expect(shellQuoted("/a b/$(x)'y")).toBe("'/a b/$(x)'\\''y'");
  expect(shellQuoted("")).toBe("''");
});

test("buckets as people write them", () => {
  expect(bucketUri("file:///mnt/x")).toBe("file:///mnt/x");
  expect(bucketUri("/mnt/a b")).toBe("file:///mnt/a%20b");
  expect(bucketUri("./x")).toBe(new URL(`file://${process.cwd()}/x`).href);
  expect(bucketUri("me/vault")).toBe("hf://buckets/me/vault");
  expect(bucketUri("nonsense")).toBe("nonsense");
});

describe("conflicts of a merge", () => {
  const hash = (digit: string): Hash => digit.repeat(64) as Hash;
  const one = { space: "kv", key: "/k", winner: hash("a"), loser: hash("b"), at: hash("c"), kept: null } as const;
  const shown = (...more: Partial<ConflictItem>[]): string[] => {
    const items = more.map((rest): ConflictItem => ({ ...one, ...rest }));
    return renderBlocks(
      conflictBlocks("todo" as AgentName, items, () => "ours"),
      false,
    ).split("\n");
  };

  test("say what stays, and where the other value is", () => {
    expect(
      shown(
        { key: "/a b", kept: "/a b.conflict-1" },
        { places: ["/x", "", "3,1", "4,2", "/y"] },
        { places: ["3,1", "4,2", "9,0"] },
        { winner: null },
        { why: "not-json", space: "vectors" },
        { why: "from a newer release" },
      ).map((line) => line.trimEnd()),
    ).toEqual([
      "6 keys changed on both sides:",
      "key          stays                                                the other value",
      "/a b         ours                                                 /a b.conflict-1",
      "/k           merged; at /x, the document, line 3 and more ours    --at ccccccc",
      "/k           merged; at line 3, lines 4 to 5, before line 9 ours  --at ccccccc",
      "/k           ours: deleted                                        --at ccccccc",
      "/k (vector)  ours; not JSON on every side                         --at ccccccc",
      "/k           ours; from a newer release                           --at ccccccc",
      "see the other: vlinder kv get todo '/a b' --at ccccccc",
      "",
    ]);
    expect(shown()).toEqual([""]);
    expect(shown({ space: "vectors" })).toHaveLength(4);
  });
});

describe("calls of models", () => {
  const sizes = (request: number, response: number) => ({
    request: ["0" as Hash, request] as const,
    response: ["0" as Hash, response] as const,
  });
  const info = { service: "infer", provider: "openai", model: "m", method: "POST", path: "/v1/responses", status: 200 };

  test("say who was asked for what, and what it took", () => {
    const event = {
      info: { ...info, milliseconds: 2149, tokens: { input: 12_345, output: 6 } },
      values: sizes(1234, 56),
    };
    expect(callText(event)).toBe("infer openai/m 200");
    expect(callFacts(event)).toEqual([
      ["request", "POST /v1/responses   1.2 kB"],
      ["response", "56 B in 2.1 s"],
      ["tokens", "12,345 in, 6 out"],
    ]);
    expect(callFacts({ info: { ...info, milliseconds: 150_000 } })).toEqual([
      ["request", "POST /v1/responses   none"],
      ["response", "none in 2 min"],
      ["tokens", null],
    ]);
  });

  test("that broke off, had no answer or no model say so", () => {
    expect(callText({ info: { ...info, complete: false } })).toBe("infer openai/m 200, broken off");
    const { status: _status, model: _model, ...rest } = info;
    expect(callText({ info: rest })).toBe("infer openai//v1/responses no answer");
  });

  test("of another machine, whatever is in them, can be shown", () => {
    for (const odd of [{}, { service: [1], provider: {}, model: 7, tokens: "many", milliseconds: "x", status: null }]) {
      expect(callText({ info: odd })).toContain("?");
      expect(callFacts({ info: odd })).toHaveLength(3);
    }
    expect(callFacts({})).toHaveLength(3);
  });
});
