import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { LINES, type RatioName } from "../bench/limits.ts";
import { markdown } from "../bench/markdown.ts";
import { Rounds } from "../bench/measure.ts";
import { readOptions } from "../bench/options.ts";
import { keysToFill } from "../bench/peers/contestant.ts";
import { type Ratio, Report, verdictOf } from "../bench/report.ts";
import { QUICK } from "../bench/sizes.ts";
import { EngineStore } from "../bench/states/engine-store.ts";
import { anyKey, keyAt } from "../bench/values.ts";

describe("what the bench reports", () => {
  it("takes a ratio within each round, and then the median", () => {
    const rounds = new Rounds<"a" | "b">();
    // A slow second round hits both: the ratio of the medians would be 2.
    for (const [a, b] of [
      [1, 1],
      [10, 5],
      [100, 100],
    ] as const) {
      rounds.add("a", a);
      rounds.add("b", b);
    }
    expect(rounds.ratio("a", "b")).toBe(1);
    expect(rounds.ratio("a", "a")).toBe(1);
  });

  it.each([
    [1.9, "must", "at most", "ok"],
    [2.1, "must", "at most", "broken"],
    [2.1, "aim", "at most", "not yet"],
    [1.9, "aim", "at least", "not yet"],
    [2, "aim", "at least", "ok"],
    [Number.NaN, "must", "at least", "not measured"],
  ] as const)("judges %d, which %s be %s 2: %s", (value, kind, bound, verdict) => {
    expect(verdictOf({ value, limit: { kind, bound, value: 2 } } as Ratio)).toBe(verdict);
  });

  it("shows every line in the order of the list, with its limit, and says what broke off", () => {
    const report = new Report(QUICK);
    const names = Object.keys(LINES) as RatioName[];
    for (const name of names.toReversed()) report.ratio("wire", name, 0.5, "1 / 2");
    report.failures.push(["vectors", "boom"]);
    const text = markdown(report, { node: "v1" }, QUICK);
    const shown = report.ratios.map(({ what }) => text.indexOf(`| ${what} |`));
    expect(shown).toHaveLength(names.length);
    expect(shown).not.toContain(-1);
    expect(report.ratios.map(({ name }) => name)).toEqual(names);
    expect(text).toContain("| aim | gets, 64 in flight, to JetStream KV | 0.5× | at least 3× | not yet | 1 / 2 |");
    expect(text).toContain("`vectors` broke off");
    const wanted = report.ratios.filter(({ limit }) => limit?.kind === "must" && limit.bound === "at least");
    expect(report.broken).toEqual(wanted);
    expect(wanted.length).toBeGreaterThan(0);
  });

  it("refuses a section that is none", () => {
    expect(() => readOptions(["--only", "nothing"])).toThrow('there is no section "nothing": engine, ');
    expect([...(readOptions(["--only", "wire"])?.only ?? [])]).toEqual(["wire"]);
  });
});

describe("what the bench drives", () => {
  it("gives every peer keys that are all different", () => {
    for (const keys of [1_000, 2_500, 20_000]) {
      const all = [...keysToFill(keys)];
      const names = new Set(all.map(({ key }) => key));
      expect(names.size).toBe(all.length);
      expect(names).toContain(keyAt(keys - 1));
    }
  });

  it("has two transactions of 64 puts under way, and never more in one", async () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), "vlinder-bench-test-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const store = await EngineStore.open(path.join(folder, "objects.db"), "test");
    const batches = Array.from({ length: 12 }, () => Array.from({ length: 64 }, () => anyKey(500)));
    const before = store.transactions;
    const commits: string[] = [];
    await store.putOverlapped(batches, (hashes) => commits.push(...hashes));
    expect(store.transactions - before).toBe(12);
    expect(new Set(commits).size).toBe(12 * 64);
    expect(commits.at(-1)).toBe(await store.engine.resolve("main"));
    await store.close();
  });
});
