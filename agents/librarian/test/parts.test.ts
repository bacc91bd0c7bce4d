import { describe, expect, test } from "vitest";
import { DIMENSION, embed } from "../hashing-embedder.ts";
import { cut, titleOf } from "../passages.ts";
import { TermCounts } from "../term-counts.ts";
import { stem, words } from "../words.ts";

describe("words", () => {
  test("are stems in lower case, without what only builds the sentence", () => {
    expect(words("How do I drain the Connections?")).toEqual(words("draining a connection"));
    expect(words("maxRetries, 42 + don't")).toEqual(["max", "retry"]);
    expect(words("Grüße, 日本語")).toHaveLength(2);
  });

  test.each([
    ["running", "runs"],
    ["signature", "signatures"],
    ["parsing", "parser"],
    ["rotate", "rotation"],
    ["libraries", "library"],
    ["validated", "validates"],
  ])("%s and %s are one word", (a, b) => expect(stem(a)).toBe(stem(b)));

  test("short words keep what they are", () => {
    expect(["bus", "red", "class", "log"].map(stem)).toEqual(["bus", "red", "class", "log"]);
  });
});

describe("the embedder", () => {
  const texts = [
    "Drain the connection before closing it.",
    "Bake the bread for an hour.",
    "Close connections cleanly.",
  ];
  const counts = new TermCounts();
  for (const text of texts) counts.add(text);
  const cosine = (a: string, b: string): number => {
    const other = embed(b, counts);
    return embed(a, counts).reduce((sum, x, i) => sum + x * (other[i] ?? 0), 0);
  };

  test("gives 384 numbers of length 1, the same each time", () => {
    const vector = embed(texts[0] as string, counts);
    expect(vector.length).toBe(DIMENSION);
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
    expect(embed(texts[0] as string, counts)).toEqual(vector);
    expect(Math.hypot(...embed("", counts))).toBe(1);
  });

  test("what shares words is nearer", () => {
    expect(cosine("closing a connection", texts[0] as string)).toBeGreaterThan(0.3);
    expect(Math.abs(cosine("closing a connection", texts[1] as string))).toBeLessThan(0.2);
  });

  test("counts survive storage, and what is taken back was never there", () => {
    const again = TermCounts.fromBytes(counts.toBytes());
    expect(again.passages).toBe(3);
    expect(again.weight("drain")).toBe(counts.weight("drain"));
    const before = again.toBytes();
    again.add("something else entirely");
    again.add("something else entirely", -1);
    expect(again.toBytes()).toEqual(before);
  });

  test("a word that is everywhere weighs less than a rare one", () => {
    expect(counts.weight(stem("connection"))).toBeLessThan(counts.weight(stem("bread")));
  });
});

describe("passages", () => {
  const text = [
    "# Tea",
    "",
    "About tea.",
    "",
    "## Green",
    "",
    "Eighty degrees.",
    "",
    "```sh",
    "# not a heading",
    "",
    "brew",
    "```",
  ];

  test("begin at headings, and know their line and where they stand", () => {
    expect(cut(text.join("\n"), "Tea")).toEqual([
      { heading: "Tea", text: "About tea.", line: 3 },
      { heading: "Tea › Green", text: "Eighty degrees.\n\n```sh\n# not a heading\n\nbrew\n```", line: 7 },
    ]);
    expect(titleOf(text.join("\r\n"))).toBe("Tea");
    expect(titleOf("no heading")).toBeNull();
  });

  test("long sections are cut between paragraphs, and no word is lost", () => {
    const paragraphs = Array.from({ length: 40 }, (_, i) => `Paragraph ${i} ${"word ".repeat(i % 60)}end${i}.`);
    const passages = cut(`# Long\n\n${paragraphs.join("\n\n")}`, "Long");
    expect(passages.length).toBeGreaterThan(3);
    for (const passage of passages) expect(passage.text.length).toBeLessThan(1900);
    for (const i of paragraphs.keys()) expect(passages.some((passage) => passage.text.includes(`end${i}.`))).toBe(true);
    passages.forEach(({ line, text: piece }) => {
      expect(`# Long\n\n${paragraphs.join("\n\n")}`.split("\n")[line - 1]).toBe(piece.split("\n")[0]);
    });
  });

  test("a line without end is cut too", () => {
    const passages = cut("x".repeat(10_000), "minified");
    expect(passages.every((passage) => passage.text.length <= 1900)).toBe(true);
    expect(passages.map((passage) => passage.text).join("").length).toBe(10_000);
  });
});
