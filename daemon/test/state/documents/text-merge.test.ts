import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { align } from "../../../src/state/documents/alignment.ts";
import { mergeDocuments } from "../../../src/state/documents/document-merge.ts";
import { holds } from "../property.ts";

type Result = { text: string; places: readonly string[] } | { why: string };

function merge(base: string | null, older: string, newer: string): Result {
  const bytes = (text: string): Buffer => Buffer.from(text, "utf8");
  const result = mergeDocuments("lines", base === null ? null : bytes(base), bytes(newer), bytes(older));
  return "why" in result ? result : { text: result.bytes.toString("utf8"), places: result.places };
}

const clean = (text: string): Result => ({ text, places: [] });

describe("texts, line by line", () => {
  test("changes of different lines, also of neighbours", () => {
    expect(merge("a\nb\nc\nd\n", "A\nb\nc\nd\n", "a\nB\nc\nD\n")).toEqual(clean("A\nB\nc\nD\n"));
    expect(merge("a\nb\nc\n", "b\nc\n", "a\nb\n")).toEqual(clean("b\n"));
    expect(merge("a\nb\n", "x\na\nb\n", "a\nb\ny\n")).toEqual(clean("x\na\nb\ny\n"));
  });

  test("both insert at the same place: both, the older first", () => {
    expect(merge("a\nb\n", "a\nx\nb\n", "a\ny\nz\nb\n")).toEqual(clean("a\nx\ny\nz\nb\n"));
    expect(merge("", "x\n", "y\n")).toEqual(clean("x\ny\n"));
    expect(merge(null, "x\n", "y\n")).toEqual(clean("x\ny\n"));
  });

  test("an insertion beside a changed line is no conflict, one between changed lines is", () => {
    expect(merge("a\nb\nc\n", "a\nx\nb\nc\n", "a\nB\nc\n")).toEqual(clean("a\nx\nB\nc\n"));
    expect(merge("a\nb\nc\n", "a\nb\nx\nc\n", "a\nB\nc\n")).toEqual(clean("a\nB\nx\nc\n"));
    expect(merge("a\nb\nc\nd\n", "a\nb\nx\nc\nd\n", "a\nBC\nd\n")).toEqual({ text: "a\nBC\nd\n", places: ["2,1"] });
  });

  test("the same on both sides is there once", () => {
    expect(merge("a\n", "a\nx\ny\n", "a\nx\ny\n")).toEqual(clean("a\nx\ny\n"));
    expect(merge("a\nb\nc\nd\n", "a\nX\nc\nd\n", "a\nX\nc\nD\n")).toEqual(clean("a\nX\nc\nD\n"));
  });

  test("the same lines changed in two ways: the newer stand, and the place is told", () => {
    expect(merge("a\nb\nc\nd\n", "a\nB\nc\nd\n", "a\nb1\nb2\nc\nd\n")).toEqual({
      text: "a\nb1\nb2\nc\nd\n",
      places: ["2,2"],
    });
    expect(merge("a\nb\nc\n", "a\nB\nc\n", "a\nc\n")).toEqual({ text: "a\nc\n", places: ["2,0"] });
    // Around it both sides' changes stand.
    expect(merge("1\n2\n3\n4\n5\n", "0\n1\n2\n3a\n4\n5\n", "1\n2\n3b\n4\n")).toEqual({
      text: "0\n1\n2\n3b\n4\n",
      places: ["4,1"],
    });
  });

  test("lines that both removed, and more of them, are removed", () => {
    expect(merge("1\n2\n3\n4\n5\n", "1\n4\n5\n", "1\n2\n5\n")).toEqual(clean("1\n5\n"));
  });

  test("a line that one side moved stands there, and what the other did with those around it stands", () => {
    expect(merge("1\n2\n3\n4\n", "1\n2a\n3\n4\n", "2\n3\n4\n1\n")).toEqual(clean("2a\n3\n4\n1\n"));
    expect(merge("1\n2\n3\n4\n", "2\n3\n4\n1\n", "1\n2\n3a\n4\n")).toEqual(clean("2\n3a\n4\n1\n"));
    // What was inserted behind a line goes with it.
    expect(merge("f1\nf2\nX\nY\nZ\n", "f1\nnew\nf2\nX\nY\nZ\n", "X\nY\nZ\nf1\nf2\n")).toEqual(
      clean("X\nY\nZ\nf1\nnew\nf2\n"),
    );
    // Lines that are there more than once stay where they are.
    expect(merge("U\n}\n}\nV\nW\n", "U\n}\nz\n}\nV\nW\n", "}\n}\nV\nW\nU\n")).toEqual(clean("}\nz\n}\nV\nW\nU\n"));
    // What the other one has no more cannot be followed: a change beats a removal.
    expect(merge("1\n2\n3\n", "2\n3\n", "2\n3\n1\n")).toEqual(clean("2\n3\n1\n"));
    // Each moved one.
    expect(merge("1\n2\n3\n4\n5\n6\n", "2\n3\n1\n4\n5\n6\n", "1\n2\n3\n4\n6\n5\n")).toEqual(
      clean("2\n3\n1\n4\n6\n5\n"),
    );
  });

  test("a line that both moved is there once: in one place, or, with the place told, where the newer has it", () => {
    expect(merge("0\n3\n", "3\n0\n1\n", "3\n4\n0\n")).toEqual(clean("3\n4\n0\n1\n"));
    expect(merge("1\n2\n3\n4\n5\n", "2\n3\n1\nx\n4\n5\n", "2\n3\n4\n5\n1\ny\n")).toEqual({
      text: "2\n3\n4\n5\n1\nx\ny\n",
      places: ["5,1"],
    });
    expect(merge("1\n2\n3\n4\n", "4\n3\n1\n2\nx\n", "3\n4\n2\ny\n1\n")).toMatchObject({ places: [] });
  });

  test("a line without a letter or a digit is not taken for moved: it may stand anywhere", () => {
    // A new paragraph, and an empty line that was removed elsewhere.
    for (const blank of ["", "}", "---"]) {
      expect(merge(`${blank}\na\n`, "a\n", `a\n${blank}\nb\n`)).toEqual(clean(`a\n${blank}\nb\n`));
      expect(merge(`${blank}\na\n`, `a\n${blank}\nb\n`, "a\n")).toEqual(clean(`a\n${blank}\nb\n`));
      expect(merge(`h\n${blank}\nA\nB\n`, `h\n${blank}\nnew\nA\nB\n`, `h\nA\nB\n${blank}\nend\n`)).toEqual(
        clean(`h\nnew\nA\nB\n${blank}\nend\n`),
      );
    }
    for (const [a, b] of ["éè", "78", "xy"].map((pair) => pair.split(""))) {
      expect(merge(`${a}\n${b}\n`, `${b}\n${a}\n1\n`, `${b}\n4\n${a}\n`)).toEqual(clean(`${b}\n4\n${a}\n1\n`));
    }
  });

  test("a line of a new place that is like one that the other side changed is not that one", () => {
    const base = "[a]\ntimeout: 30\n[b]\nx: 1\n";
    const newer = "[b]\nx: 1\n[c]\ntimeout: 30\n";
    expect(merge(base, base.replace("30", "60"), newer)).toEqual({ text: newer, places: ["1,0"] });
  });

  test("of more than 100 places those that have less than a side wrote are listed first", () => {
    const groups = (one: (i: number) => string): string => Array.from({ length: 101 }, (_, i) => one(i)).join("");
    const base = groups((i) => `m${i}\na${i}\nb${i}\nc${i}\nd${i}\n`);
    const newer = groups((i) => `a${i}\nb${i}\nm${i}\nc${i}\nd${i}\n`);
    const older = groups((i) => `a${i}\nb${i}\nc${i}\nm${i}\nd${i}\n`);
    const { places = [] } = merge(`${base}z\n`, `${older}Z2\n`, `${newer}Z1\n`) as { places?: string[] };
    expect(places.length).toBe(100);
    expect(places.at(-1)).toBe("506,1");
    expect(places[0]).toBe("3,1");
  });

  test("the same order comes out on every machine", () => {
    const lines = (text: string): string => text.replaceAll(" ", "\n") + "\n";
    const merged = (base: string, older: string, newer: string): Result =>
      merge(lines(base), lines(older), lines(newer));
    expect(merged("1 2 3", "3 1 2 o", "3 1")).toEqual(clean(lines("3 1 o")));
    expect(merged("1 2 3", "2o 3 1", "3 1 2")).toEqual(clean(lines("3 2o 1")));
    expect(merged("1 2 3", "2 3 1", "3 2 1")).toEqual(clean(lines("3 2 1")));
    expect(merged("1 2", "1 1 2", "2 1")).toEqual(clean(lines("1 2 1")));
    expect(merged("1 2 3", "2 1 3", "3 2 1")).toEqual({ text: lines("3 2 1"), places: ["3,1"] });
    expect(merged("1 2 3 4", "4 2 1", "2 1 n 4")).toEqual({ text: lines("1 n 4 2"), places: ["1,1", "2,1"] });
  });

  test("whether the last line ends merges by itself", () => {
    expect(merge("a\nb", "a\nb\nc", "A\nb")).toEqual(clean("A\nb\nc"));
    expect(merge("a\nb", "a\nb\n", "A\nb")).toEqual(clean("A\nb\n"));
    expect(merge("a\nb\n", "a\nb", "A\nb\n")).toEqual(clean("A\nb"));
    expect(merge("a\nb\n", "a\nb\nc", "")).toEqual(clean("c"));
    expect(merge("", "x", "y\n")).toEqual(clean("x\ny\n"));
    expect(merge("\n", "\n\n", "")).toEqual(clean("\n"));
  });

  test("and so does how lines end", () => {
    expect(merge("a\r\nb\r\n", "a\r\nb\r\nc\r\n", "A\r\nb\r\n")).toEqual(clean("A\r\nb\r\nc\r\n"));
    expect(merge("a\nb\n", "a\r\nb\r\n", "A\nb\n")).toEqual(clean("A\r\nb\r\n"));
    expect(merge("a\r\nb\r\n", "a\nb\n", "A\r\nb\r\n")).toEqual(clean("A\nb\n"));
    expect(merge("a\r\nb\r\n", "a", "a\r\nb\r\nc\r\n")).toEqual(clean("a\r\nc"));
    // Where one text mixes them, a CR is a part of its line.
    expect(merge("a\r\nb\n", "a\r\nb\nc\n", "a\nb\n")).toEqual(clean("a\nb\nc\n"));
  });

  test("bytes in any encoding are lines, and stay as they are; binary ones are not", () => {
    const latin = (text: string): Buffer => Buffer.from(text, "latin1");
    expect(mergeDocuments("lines", latin("\xe9\n"), latin("\xe9\n\xff\n"), latin("\xe8\n\xe9\n"))).toEqual({
      bytes: latin("\xe8\n\xe9\n\xff\n"),
      places: [],
    });
    for (const nul of [0, 1, 2]) {
      const [base = "", older = "", newer = ""] = ["a", "b", "c"].map((text, i) => (i === nul ? `${text}\0` : text));
      expect(merge(base, older, newer)).toEqual({ why: "not-text" });
    }
  });

  test("too many lines", () => {
    expect(merge("", "\n".repeat(99_999), "x\n")).toMatchObject({ places: [] });
    expect(merge("", "\n".repeat(100_000), "x\n")).toEqual({ why: "too-large" });
  });

  test("a text without a base in common is not lost", () => {
    expect(merge("entirely\nother\n", "one\ntwo\n", "three\n")).toEqual({ text: "three\n", places: ["1,1"] });
  });

  test("effort is bounded, and what is beyond it is one change", () => {
    const lines = (n: number, line: (i: number) => number | string): string =>
      Array.from({ length: n }, (_, i) => `${line(i)}\n`).join("");
    const start = performance.now();
    const base = lines(50_000, (i) => i);
    const shuffled = lines(50_000, (i) => (i * 7919) % 50_000);
    expect(
      merge(
        base,
        lines(50_000, (i) => 49_999 - i),
        shuffled,
      ),
    ).toEqual({ text: shuffled, places: ["2,49999"] });
    // Many changed lines are no effort, as they are nowhere else.
    const changed = lines(50_000, (i) => (i % 2 === 0 ? i : `changed ${i}`));
    expect(merge(base, `${base}end\n`, changed)).toEqual(clean(`${changed}end\n`));
    // Removals that overlap from the first line to the last.
    const every4th = (from: number): string => lines(12_500, (i) => 4 * i + from);
    expect(merge(base, every4th(0), every4th(2))).toEqual(clean(""));
    expect(performance.now() - start).toBeLessThan(10_000);
  });
});

/** The longest common subsequence's length, by the table. */
function longest(a: readonly number[], b: readonly number[]): number {
  const table = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      (table[i] as number[])[j] =
        a[i] === b[j]
          ? 1 + (table[i + 1]?.[j + 1] as number)
          : Math.max(table[i + 1]?.[j] as number, table[i]?.[j + 1] as number);
    }
  }
  return table[0]?.[0] as number;
}

describe("alignment", () => {
  test("is a longest common subsequence", async () => {
    const items = fc.array(fc.nat(4), { maxLength: 24, size: "max" });
    const property = fc.asyncProperty(items, items, async (a, b) => {
      const matches = align(a, b);
      const pairs = [...matches.entries()].filter(([, at]) => at >= 0);
      for (const [n, [i, j]] of pairs.entries()) {
        expect(a[i]).toBe(b[j]);
        if (n > 0) expect(j).toBeGreaterThan(pairs[n - 1]?.[1] as number);
      }
      expect(pairs.length).toBe(longest(a, b));
    });
    await holds("alignment", property, 2000);
  });

  test("takes the same one of several, on every machine", () => {
    expect([...align([1, 1, 2], [2, 1])]).toEqual([-1, -1, 0]);
    expect([...align([1, 2, 3, 1, 2], [2, 1, 3, 2, 1])]).toEqual([-1, 0, -1, 1, 3]);
    expect([...align([0, 1, 0, 1, 0, 1], [1, 0, 0, 1, 1, 0])]).toEqual([-1, 0, 1, -1, 2, 3]);
  });
});

describe("a model of three-way merge by line", () => {
  test("lines in whatever order, which both add and remove, are there once each", async () => {
    const all = Array.from({ length: 16 }, (_, i) => `line ${i}`);
    const order = fc.shuffledSubarray(all, { minLength: 16 });
    const kinds = ["all", "all", "newer adds", "older adds", "newer removes", "older removes", "brace"] as const;
    const who = fc.array(fc.constantFrom(...kinds), { minLength: 16, maxLength: 16 });
    const property = fc.asyncProperty(order, order, order, who, async (base, newer, older, has) => {
      const kindOf = (line: string): string => has[all.indexOf(line)] as string;
      const text = (lines: string[], ...with_: string[]): string =>
        lines
          .filter((line) => with_.includes(kindOf(line)))
          .map((line) => (kindOf(line) === "brace" ? "}\n" : `${line}\n`))
          .join("");
      const was = text(base, "all", "newer removes", "older removes");
      const mine = text(newer, "all", "newer adds", "older removes");
      const theirs = text(older, "all", "older adds", "newer removes");
      const result = merge(was, theirs, mine) as { text: string; places: string[] };
      const lines = result.text.split("\n").slice(0, -1);
      expect(new Set(lines).size).toBe(lines.length);
      for (const line of all) {
        if (kindOf(line) === "all" || kindOf(line) === "newer adds") expect(lines).toContain(line);
        // Where changes met the newer one's stand, and the place is told.
        if (result.places.length > 0) continue;
        if (kindOf(line) === "older adds") expect(lines).toContain(line);
      }
      if (!has.some((kind) => kind.endsWith("removes")))
        expect(lines.length).toBe(all.filter((line) => kindOf(line) !== "brace").length);
      // With lines that are there often, who changed nothing takes what the other did.
      const [often, changed] = [text(base, "all", "newer removes", "brace"), text(newer, "all", "newer adds", "brace")];
      expect(merge(often, often, changed)).toEqual(clean(changed));
      expect(merge(often, changed, often)).toEqual(clean(changed));
    });
    await holds("moved lines", property, 3000);
  });

  test("texts whose changes do not meet have all of both", async () => {
    const edits = fc.array(fc.constantFrom("keep", "keep", "remove", "change", "insert"), {
      minLength: 12,
      maxLength: 12,
    });
    const owner = fc.array(fc.boolean(), { minLength: 12, maxLength: 12 });
    const property = fc.asyncProperty(edits, owner, async (todo, mine) => {
      const text = (who: boolean | "both" | "none"): string =>
        todo
          .map((edit, i) => {
            const does = who === "both" || who === mine[i] ? edit : "keep";
            if (does === "remove") return "";
            if (does === "change") return `changed ${i}\n`;
            return does === "insert" ? `line ${i}\nnew ${i}\n` : `line ${i}\n`;
          })
          .join("");
      expect(merge(text("none"), text(true), text(false))).toEqual(clean(text("both")));
    });
    await holds("lines", property, 1000);
  });
});
