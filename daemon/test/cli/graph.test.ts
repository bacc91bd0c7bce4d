import fc from "fast-check";
import { type Hash, sha256 } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { momentOf } from "../../src/cli/moment.ts";
import { type Graph, type GraphCommit, GraphLanes } from "../../src/cli/render/graph.ts";
import { holds } from "../state/property.ts";

const hash = (name: string): Hash => sha256(name);

/** Commits as `a: b c`, newest first, each a moment older than the one before. */
function history(text: string): GraphCommit[] {
  return text
    .trim()
    .split(/\s*\n\s*/)
    .map((line, i) => {
      const [name = "", parents = ""] = line.split(":");
      return {
        hash: hash(name),
        parents: parents.trim() === "" ? [] : parents.trim().split(" ").map(hash),
        time: String(1000 - i),
      };
    });
}

const textOf = (graph: Graph): string =>
  graph
    .map(({ text }) => text)
    .join("")
    .trimEnd();

function drawn(commits: readonly GraphCommit[]): string[] {
  const lanes = new GraphLanes();
  return commits.flatMap((commit) => {
    const { above, beside, below } = lanes.next(commit);
    return [...above, beside, ...below].map(textOf);
  });
}

describe("the graph of a history", () => {
  test("a line", () => {
    expect(drawn(history("c: b\nb: a\na:"))).toEqual(["●", "●", "●"]);
  });

  test("a promote, and the fork that it came from", () => {
    expect(drawn(history("p: fix old\nfix: base\nold: base\nbase:"))).toEqual(["●", "├─╮", "● │", "│ ●", "├─╯", "●"]);
  });

  test("branches that begin at one commit, and cross others", () => {
    expect(drawn(history("a: r\nb: r\nc: r\nd: b0\nr: b0\nb0:"))).toEqual([
      "●",
      "│ ●",
      "│ │ ●",
      "│ │ │ ●",
      "├─┴─╯ │",
      "●     │",
      "├─────╯",
      "●",
    ]);
    expect(drawn(history("a: x\nb: y\nc: x\nx: y\ny:"))).toEqual(["●", "│ ●", "│ │ ●", "├─┼─╯", "● │", "├─╯", "●"]);
  });

  test("a merge of what another lane leads to, and a second lane in a place that became free", () => {
    expect(drawn(history("m: a b\nn: b a\na: z\nb: z\nz:"))).toEqual([
      "●",
      "├─╮",
      "│ │ ●",
      "├─┼─┤",
      "● │ │",
      "│ ├─╯",
      "│ ●",
      "├─╯",
      "●",
    ]);
  });

  test("every line from a commit ends at its parents, whatever the history, and no more lanes are kept than lead on", async () => {
    const shape = fc.array(fc.array(fc.nat(), { maxLength: 2 }), { minLength: 1, maxLength: 40 });
    const property = fc.asyncProperty(shape, async (shapes) => {
      const commits = shapes.map((parents, i): GraphCommit => {
        const older = shapes.length - 1 - i;
        const to = older === 0 ? [] : [...new Set(parents.map((p) => i + 1 + (p % older)))];
        return { hash: hash(String(i)), parents: to.map((p) => hash(String(p))), time: String(1000 - i) };
      });
      const lanes = new GraphLanes();
      const open = new Set<Hash>();
      for (const commit of commits) {
        const { above, beside, below } = lanes.next(commit);
        const row = textOf(beside);
        expect(row.match(/●/g)).toHaveLength(1);
        // Those that lead past this commit, each at least one line.
        open.delete(commit.hash);
        expect(row.match(/│/g)?.length ?? 0).toBeGreaterThanOrEqual(open.size);
        for (const parent of commit.parents) open.add(parent);
        const at = row.indexOf("●");
        for (const line of [...above, ...below]) expect("├┤┴│┼").toContain(textOf(line)[at]);
      }
      // The last commit has no parents: nothing leads on.
      const end = lanes.next({ hash: hash("end"), parents: [], time: "0" });
      expect(textOf(end.beside)).toBe("●");
    });
    await holds("graphs", property, 200);
  });
});

describe("a time as people write it", () => {
  const now = Date.parse("2026-11-20T12:00:00.000Z");

  test("is ISO 8601 as it stands, or some time ago", () => {
    const read = (text: string, short = false): string | null => momentOf(text, short, now);
    expect(read("2026-11-20T21:40Z")).toBe("2026-11-20T21:40Z");
    expect(read("2026-11-20")).toBe("2026-11-20");
    expect(read("2h ago")).toBe("2026-11-20T10:00:00.000Z");
    expect(read("3 min ago")).toBe("2026-11-20T11:57:00.000Z");
    expect(read("1 week ago")).toBe("2026-11-13T12:00:00.000Z");
    expect(read("90 seconds ago")).toBe("2026-11-20T11:58:30.000Z");
    expect(read("yesterday")).toBe("2026-11-19T12:00:00.000Z");
    // Behind an @ nothing else can be meant; without, it may be a branch.
    expect(read("2h", true)).toBe("2026-11-20T10:00:00.000Z");
    for (const text of ["2h", "main", "ago", "h ago", "2 years ago", "2hago", "noon", ""])
      expect(read(text)).toBeNull();
    expect(read("999999w", true)).toBeNull();
  });
});
