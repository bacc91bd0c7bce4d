import { describe, expect, test } from "vitest";
import { mergeDocuments } from "../../../src/state/documents/document-merge.ts";

type Result = { text: string; places: readonly string[] } | { why: string };

/** Both ways round the newer one is the newer one: there is no other order that could count. */
function merge(base: string | null, older: string, newer: string): Result {
  const bytes = (text: string): Buffer => Buffer.from(text, "utf8");
  const result = mergeDocuments("json", base === null ? null : bytes(base), bytes(newer), bytes(older));
  return "why" in result ? result : { text: result.bytes.toString("utf8"), places: result.places };
}

/** The merged document, which no place was contested in. */
function merged(base: unknown, older: unknown, newer: unknown): unknown {
  const result = merge(base === undefined ? null : JSON.stringify(base), JSON.stringify(older), JSON.stringify(newer));
  if ("why" in result) throw new Error(result.why);
  expect(result.places).toEqual([]);
  return JSON.parse(result.text);
}

const todo = (text: string, done = false) => ({ text, done });
const [milk, eggs, ann] = [todo("buy milk"), todo("buy eggs"), todo("call Ann")];

describe("a list of things to do", () => {
  test("both add one: both are there, the older first", () => {
    expect(merged([milk], [milk, eggs], [milk, ann])).toEqual([milk, eggs, ann]);
    expect(merged([], [eggs], [ann])).toEqual([eggs, ann]);
    expect(merged(undefined, [milk, eggs], [milk, ann])).toEqual([milk, eggs, ann]);
  });

  test("both add the same one: it is there once", () => {
    expect(merged([milk], [milk, eggs], [milk, eggs])).toEqual([milk, eggs]);
    expect(merged([milk], [milk, eggs, ann], [eggs, milk])).toEqual([eggs, milk, ann]);
    expect(merged([milk], [milk, eggs, eggs], [milk, eggs])).toEqual([milk, eggs, eggs]);
  });

  test("one ticks off what stands beside the other's change", () => {
    expect(merged([milk, eggs], [todo("buy milk", true), eggs], [milk, todo("buy eggs", true)])).toEqual([
      todo("buy milk", true),
      todo("buy eggs", true),
    ]);
    expect(merged([milk, eggs], [todo("buy milk", true), eggs], [milk, eggs, ann])).toEqual([
      todo("buy milk", true),
      eggs,
      ann,
    ]);
  });

  test("an item that one side changed and the other left alone is there once, changed", () => {
    expect(merged([milk, eggs], [milk, eggs], [todo("buy oat milk"), eggs])).toEqual([todo("buy oat milk"), eggs]);
    expect(merged(["a", "b"], ["a", "b", "c"], ["a", "B"])).toEqual(["a", "B", "c"]);
  });

  test("one ticks it off, the other adds a note to it: one item with both", () => {
    expect(merged([milk, eggs], [milk, { ...eggs, note: "six" }], [milk, { ...eggs, done: true }])).toEqual([
      milk,
      { ...eggs, done: true, note: "six" },
    ]);
  });

  test("one ticks it off, the other gives it another text: both stay, and another item gets no tick", () => {
    expect(merged([milk], [todo("buy milk", true)], [todo("buy oat milk")])).toEqual([
      todo("buy milk", true),
      todo("buy oat milk"),
    ]);
    expect(merged([milk, ann], [todo("buy milk", true), ann], [eggs, ann])).toEqual([
      todo("buy milk", true),
      eggs,
      ann,
    ]);
  });

  test("a change beats a removal, and what nobody changed is removed", () => {
    expect(merged([milk, eggs], [todo("buy milk", true), eggs], [eggs])).toEqual([todo("buy milk", true), eggs]);
    expect(merged([milk, eggs, ann], [milk, ann], [milk, eggs, todo("call Ann", true)])).toEqual([
      milk,
      todo("call Ann", true),
    ]);
    expect(merged([milk, eggs], [eggs], [milk])).toEqual([]);
  });

  test("one ticks off and moves it to the end, the other adds and removes", () => {
    expect(merged([milk, eggs, ann], [eggs, ann, todo("buy milk", true)], [milk, ann, todo("new")])).toEqual([
      ann,
      todo("buy milk", true),
      todo("new"),
    ]);
  });

  test("one reorders, the other ticks off: the new order, ticked", () => {
    const ticked = todo("call Ann", true);
    expect(merged([milk, eggs, ann], [ann, milk, eggs], [milk, eggs, ticked])).toEqual([ticked, milk, eggs]);
    expect(merged([milk, eggs, ann], [milk, eggs, ticked], [ann, milk, eggs])).toEqual([ticked, milk, eggs]);
  });

  test("both reorder: the newer order, and the place is told", () => {
    expect(merge('["a","b","c"]', '["c","a","b"]', '["b","a","c"]')).toEqual({
      text: '["b","a","c"]',
      places: [""],
    });
    expect(merged(["a", "b", "c"], ["c", "a", "b"], ["c", "a", "b"])).toEqual(["c", "a", "b"]);
  });

  test("additions stand where they were made", () => {
    expect(merged([1, 2], [0, 1, 2], [1, 1.5, 2, 3])).toEqual([0, 1, 1.5, 2, 3]);
    expect(merged(["a", "b"], ["a", "x", "b"], ["a", "y", "b"])).toEqual(["a", "x", "y", "b"]);
    // At the end is at the end, also when the other side moved what stood there.
    expect(merged(["a", "b", "c"], ["a", "b", "c", "x"], ["c", "a", "b"])).toEqual(["c", "a", "b", "x"]);
  });

  test("items with an id are told by it", () => {
    const [one, two] = [
      { id: 1, text: "a" },
      { id: 2, text: "b" },
    ];
    expect(merged([one, two], [{ id: 1, text: "c" }, two], [{ id: 1, text: "a", done: true }, two])).toEqual([
      { id: 1, text: "c", done: true },
      two,
    ]);
    // Both made a third one: they have the same id by chance, and stay apart.
    expect(merged([one], [one, { id: 2, text: "x" }], [one, { id: 2, text: "y" }])).toEqual([
      one,
      { id: 2, text: "x" },
      { id: 2, text: "y" },
    ]);
    // As much in common as can be, but another id: removed and added, and the change beats the removal.
    const [three, four] = [
      { id: 3, text: "the same long text" },
      { id: 4, text: "the same long text" },
    ];
    expect(merged([three], [{ ...three, done: true }], [four])).toEqual([{ ...three, done: true }, four]);
  });

  test("rows are told by what they hold", () => {
    expect(merged([["Ann", 1, 2]], [["Ann", 1, 3]], [["Ann", 5, 2]])).toEqual([["Ann", 5, 3]]);
  });
});

describe("objects", () => {
  test("by member, at any depth", () => {
    expect(
      merged(
        { a: { x: 1, y: 1 }, gone: 1, stays: 1, both: 1 },
        { a: { x: 2, y: 1 }, stays: 2, mine: [] },
        { a: { x: 1, y: 2, z: {} }, gone: 1, theirs: null },
      ),
    ).toEqual({ a: { x: 2, y: 2, z: {} }, stays: 2, mine: [], theirs: null });
  });

  test("what both changed is the newer one's, and is listed by pointer", () => {
    expect(merge('{"a":{"x/y":1,"~":[0]}}', '{"a":{"x/y":2,"~":[1]}}', '{"a":{"x/y":3,"~":"now text"}}')).toEqual({
      text: '{"a":{"x/y":3,"~":"now text"}}',
      places: ["/a/x~1y", "/a/~0"],
    });
    expect(merge("1", "2", "3")).toEqual({ text: "3", places: [""] });
    expect(merge(null, '{"a":1,"b":1}', '{"a":2,"c":1}')).toEqual({ text: '{"a":2,"c":1,"b":1}', places: ["/a"] });
    // The index is that of the merged document.
    expect(merge('[{"id":7,"n":0}]', '[{"id":1},{"id":7,"n":1}]', '[{"id":7,"n":2}]')).toEqual({
      text: '[{"id":1},{"id":7,"n":2}]',
      places: ["/1/n"],
    });
  });

  test("another kind of value on each side is contested as a whole", () => {
    expect(merge('{"a":1}', '{"a":[1]}', '{"a":{"b":1}}')).toEqual({ text: '{"a":{"b":1}}', places: ["/a"] });
    expect(merge('{"a":1}', '{"a":{"c":1}}', '{"a":{"b":1}}')).toEqual({ text: '{"a":{"b":1,"c":1}}', places: [] });
  });

  test("names are what they are", () => {
    expect(merge('{"__proto__":1}', '{"__proto__":2,"constructor":1}', '{"__proto__":1,"toString":2}')).toEqual({
      text: '{"__proto__":2,"toString":2,"constructor":1}',
      places: [],
    });
    // The same name in two spellings.
    expect(merge('{"é":1,"x":1}', '{"\\u00e9":1,"x":2}', '{"é":2,"x":1}')).toEqual({
      text: '{"é":2,"x":2}',
      places: [],
    });
    expect(merge('{"\\ud800":1}', '{"\\ud800":2}', '{"\\ud800":3}')).toEqual({
      text: '{"\\ud800":3}',
      places: ["/\ufffd"],
    });
  });
});

describe("spelling", () => {
  test("numbers keep every digit, and are equal when they are", () => {
    const [big, more] = ["12345678901234567890.1", "12345678901234567890.2"];
    expect(merge(`{"a":${big},"b":1}`, `{"a":${more},"b":1}`, `{"a":${big},"b":1e400}`)).toEqual({
      text: `{"a":${more},"b":1e400}`,
      places: [],
    });
    expect(merge('{"a":1,"b":0}', '{"a":1.0,"b":0}', '{"a":10e-1,"b":-0.0}')).toEqual({
      text: '{"a":10e-1,"b":-0.0}',
      places: [],
    });
    expect(merge('{"a":1}', '{"a":2}', '{"a":1.00}')).toEqual({ text: '{"a":2}', places: [] });
  });

  test("white space is the newer document's", () => {
    const pretty = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
    expect(merge(pretty({ a: [1], b: 1 }), pretty({ a: [1, 2], b: 1 }), pretty({ a: [1, 3], b: 2 }))).toEqual({
      text: pretty({ a: [1, 2, 3], b: 2 }),
      places: [],
    });
    expect(merge("[]", '["x"]', '[ "y" ]\r\n')).toEqual({ text: '[ "x","y" ]\r\n', places: [] });
    // As Python writes it.
    expect(merge('{"a": 1}', '{"a": 1, "b": [1, 2]}', '{"a": 1, "c": {}}')).toEqual({
      text: '{"a": 1, "c": {}, "b": [1, 2]}',
      places: [],
    });
    expect(merge('[{"a": 1}]', '[{"a": 1}, {"b": 1}]', '[{"a": 1}, {"c": 1}]')).toEqual({
      text: '[{"a": 1}, {"b": 1}, {"c": 1}]',
      places: [],
    });
    expect(merge("[]", "[\n  1\n]", "[\n  2\n]")).toEqual({ text: "[\n  1,\n  2\n]", places: [] });
  });

  test("an emptied container is empty", () => {
    expect(merge("[ 1 ,2 ]", "[ 1 ]", "[ 2 ]")).toEqual({ text: "[]", places: [] });
  });
});

describe("what is not merged", () => {
  const good = "[1]";
  test.each([
    "",
    " ",
    "[1",
    "[1,]",
    "[,1]",
    "{1:2}",
    '{"a"}',
    '{"a":1,}',
    "01",
    "+1",
    ".5",
    "1.",
    "NaN",
    "nul",
    "'a'",
    '"a',
    '"\u0001"',
    '"\\x"',
    '"\\u12g4"',
    "\ufeff[]",
    "[1] x",
    "[1]]",
    "\u00a0[]",
    '{"a":1,"\\u0061":2}',
  ])("%j", (bad) => {
    expect(merge(good, bad, "[2]")).toEqual({ why: "not-json" });
    expect(merge(good, "[2]", bad)).toEqual({ why: "not-json" });
    expect(merge(bad, "[2]", "[3]")).toEqual({ why: "not-json" });
  });

  test("bytes that are no text", () => {
    const result = mergeDocuments("json", null, Buffer.from("[1]"), Buffer.from([0x22, 0xff, 0x22]));
    expect(result).toEqual({ why: "not-json" });
  });

  test("too deep or too many", () => {
    const deep = (n: number): string => "[".repeat(n) + "]".repeat(n);
    expect(merge("[]", deep(101), "[1]")).toEqual({ text: `[${deep(100)},1]`, places: [] });
    expect(merge("[]", deep(102), "[1]")).toEqual({ why: "too-large" });
    expect(merge("[]", deep(1_000_000), "[1]")).toEqual({ why: "too-large" });
    expect(merge("[]", "[1]", `{"a":${'{"a":'.repeat(100_000)}1`)).toEqual({ why: "too-large" });
    const many = (n: number): string => `[${"0,".repeat(n - 2)}0]`;
    expect(merge("[]", many(100_000), "[1]")).toMatchObject({ places: [] });
    expect(merge("[]", many(100_001), "[1]")).toEqual({ why: "too-large" });
  });
});

describe("effort", () => {
  test("is bounded, also on what is hard to match", () => {
    const list = (n: number, item: (i: number) => unknown): string =>
      JSON.stringify(Array.from({ length: n }, (_, i) => item(i)));
    const hard = [
      [list(50_000, (i) => i), list(50_000, (i) => 50_000 - i), list(50_000, (i) => (i * 7919) % 50_000)],
      [list(90_000, (i) => i % 2), list(90_000, (i) => i % 3), list(90_000, (i) => i % 5)],
      [
        list(8000, (i) => ({ a: i, b: `${i}`, c: 1 })),
        list(8000, (i) => ({ a: i + 1, b: `${i}`, c: 2 })),
        list(8000, (i) => ({ a: i, b: `${i + 1}`, c: 3 })),
      ],
      [`1e${"9".repeat(1_000_000)}`, `1${"0".repeat(1_000_000)}1`, `[${"0".repeat(1)},"${"\\\\".repeat(1_000_000)}"]`],
    ] as [string, string, string][];
    for (const [base, older, newer] of hard) {
      const start = performance.now();
      expect(merge(base, older, newer)).toHaveProperty("text");
      expect(performance.now() - start).toBeLessThan(10_000);
    }
  });
});
