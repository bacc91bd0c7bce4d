import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { diffJson } from "../../../src/state/documents/json-diff.ts";
import { diffTexts, type Hunk } from "../../../src/state/documents/text-diff.ts";
import { holds } from "../property.ts";

const json = (from: string, to: string) => diffJson(Buffer.from(from), Buffer.from(to));

describe("what differs between two JSON documents", () => {
  test("members by name, at JSON pointers, as they are spelled", () => {
    expect(json('{"a":1,"b":{"c/d~":[1.10]},"x":null}', '{"b":{"c/d~":[1.1, true]},"a":2,"n":{ }}')).toEqual([
      { op: "change", path: "/a", from: "1", to: "2" },
      { op: "add", path: "/b/c~1d~0/1", to: "true" },
      { op: "remove", path: "/x", from: "null" },
      { op: "add", path: "/n", to: "{ }" },
    ]);
  });

  test("items of arrays by what was added, removed and changed", () => {
    const before = '[{"id":1,"text":"milk","done":false},{"id":2,"text":"eggs","done":false},{"id":3,"text":"jam"}]';
    const after = '[{"id":0,"text":"tea"},{"id":1,"text":"milk","done":true},{"id":3,"text":"jam"}]';
    expect(json(before, after)).toEqual([
      { op: "remove", path: "/1", from: '{"id":2,"text":"eggs","done":false}' },
      { op: "add", path: "/0", to: '{"id":0,"text":"tea"}' },
      { op: "change", path: "/1/done", from: "false", to: "true" },
    ]);
    expect(json("[1,2,3]", "[3,1,2]")).toEqual([{ op: "reorder", path: "" }]);
  });

  test("another kind of value is a change, the same with other spaces none", () => {
    expect(json('{"a":[1]}', '{"a":{"0":1}}')).toEqual([{ op: "change", path: "/a", from: "[1]", to: '{"0":1}' }]);
    expect(json("{}", "[]")).toEqual([{ op: "change", path: "", from: "{}", to: "[]" }]);
    expect(json('{"a":1,"b":2}', '{ "b":2.0,"a":1 }')).toEqual([]);
  });

  test("what is no document has none", () => {
    expect(json("milk", "{}")).toBeNull();
    expect(json("{}", '"text"')).toBeNull();
    expect(json("1", "2")).toBeNull();
    expect(diffJson(Buffer.from([0x7b, 0xff]), Buffer.from("{}"))).toBeNull();
  });

  test("is empty exactly for documents with the same meaning", async () => {
    const value = fc.oneof(
      fc.array(fc.jsonValue({ maxDepth: 2 })),
      fc.object({ maxDepth: 2, values: [fc.jsonValue()] }),
    );
    const property = fc.asyncProperty(value, value, async (a, b) => {
      const [from, to] = [JSON.stringify(a), JSON.stringify(b)];
      expect(json(from, from)).toEqual([]);
      const sorted = (text: string): unknown => JSON.parse(text);
      let same = true;
      try {
        expect(sorted(from)).toEqual(sorted(to));
      } catch {
        same = false;
      }
      expect((json(from, to) as unknown[]).length === 0).toBe(same);
    });
    await holds("JSON diffs", property, 200);
  });
});

/** Does what `patch` does. */
function patched(from: string, hunks: readonly Hunk[]): string {
  const was = from === "" ? [] : from.split("\n");
  const is: string[] = [];
  let at = 0;
  for (const { from: place, to, lines } of hunks) {
    const start = place[1] === 0 ? place[0] : place[0] - 1;
    is.push(...was.slice(at, start));
    at = start;
    expect(is.length).toBe(to[1] === 0 ? to[0] : to[0] - 1);
    for (const line of lines) {
      if (line.startsWith("+")) is.push(line.slice(1));
      else expect(was[at++]).toBe(line.slice(1));
      if (line.startsWith(" ")) is.push(line.slice(1));
    }
  }
  return [...is, ...was.slice(at)].join("\n");
}

describe("what differs between two texts", () => {
  test("lines with three of the same around them", () => {
    const lines = Array.from({ length: 20 }, (_, i) => `line ${i + 1}`);
    const changed = lines.with(3, "other").toSpliced(15, 1);
    expect(diffTexts(lines.join("\n"), changed.join("\n"))).toEqual([
      {
        from: [1, 7],
        to: [1, 7],
        lines: [" line 1", " line 2", " line 3", "-line 4", "+other", " line 5", " line 6", " line 7"],
      },
      {
        from: [13, 7],
        to: [13, 6],
        lines: [" line 13", " line 14", " line 15", "-line 16", " line 17", " line 18", " line 19"],
      },
    ]);
  });

  test("a text that came or went, and one that is the same", () => {
    expect(diffTexts("", "a\nb")).toEqual([{ from: [0, 0], to: [1, 2], lines: ["+a", "+b"] }]);
    expect(diffTexts("a\n", "")).toEqual([{ from: [1, 1], to: [0, 0], lines: ["-a"] }]);
    expect(diffTexts("a", "a")).toEqual([]);
  });

  test("a last line that only one of them ends", () => {
    expect(diffTexts("a\nb", "a\nb\n")[0]?.lines).toEqual([" a", "-b", "\\ no line feed at the end", "+b"]);
    expect(diffTexts("a", "a\nb")[0]?.lines).toEqual([" a", "+b"]);
  });

  test("applied to the one text they give the other", async () => {
    const line = fc.constantFrom("a", "b", "c", "d", "");
    const text = fc.array(line, { maxLength: 30 }).map((lines) => lines.map((one) => `${one}x`).join("\n"));
    const property = fc.asyncProperty(text, text, async (from, to) => {
      expect(patched(from, diffTexts(from, to))).toBe(to);
    });
    await holds("text diffs", property, 300);
  });
});
