import { appendFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { LogItem, LogsReply } from "@vlinder/protocol";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { AgentLog } from "../../src/processes/agent-log.ts";
import { Pace } from "../../src/processes/pace.ts";

let folder: string;
let file: string;
const warnings: unknown[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "vlinder-log-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  file = join(folder, "todo.log");
  warnings.length = 0;
});

function openLog(rotateAt?: number): AgentLog {
  return new AgentLog(file, (error) => void warnings.push(error), rotateAt);
}

const textsOf = ({ items }: { readonly items: readonly LogItem[] }): string[] => items.map(({ text }) => text);

/** All that comes after a position. */
async function rest(log: AgentLog, after: string | undefined, lines = 1000): Promise<Omit<LogsReply, "agent">> {
  const items: LogItem[] = [];
  let page = await log.page({ lines, after, wait: 0 });
  items.push(...page.items);
  const { missed } = page;
  while (page.more) {
    page = await log.page({ lines, after: page.position, wait: 0 });
    items.push(...page.items);
  }
  return { ...page, items, missed };
}

test("lines come back with time and stream, the last ones, and on from a position", async () => {
  const log = openLog();
  expect(await log.page({ lines: 10, wait: 0 })).toEqual({ items: [], position: "0-0", more: false, missed: false });
  await log.write("daemon", ["started, pid 1"]);
  await log.write("stdout", ["one", "", "  two stderr "]);
  await log.write("stderr", ["three € 😀"]);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  const all = await log.page({ lines: 10, wait: 0 });
  expect(all.items.map(({ stream, text }) => [stream, text])).toEqual([
    ["daemon", "started, pid 1"],
    ["stdout", "one"],
    ["stdout", ""],
    ["stdout", "  two stderr "],
    ["stderr", "three € 😀"],
  ]);
  for (const { time } of all.items) expect(Date.now() - Date.parse(time ?? "")).toBeLessThan(5000);
  expect(textsOf(await log.page({ lines: 2, wait: 0 }))).toEqual(["  two stderr ", "three € 😀"]);
  const first = await log.page({ lines: 2, after: "0-0", wait: 0 });
  expect([textsOf(first), first.more, first.missed]).toEqual([["started, pid 1", "one"], true, false]);
  const then = await log.page({ lines: 100, after: first.position, wait: 0 });
  expect([then.items.length, then.more, then.position]).toEqual([3, false, all.position]);
  // As long as nothing is written the position stays, also for another reader of the same file.
  expect(await openLog().page({ lines: 5, after: then.position, wait: 0 })).toMatchObject({
    items: [],
    position: all.position,
  });
});

test("it is rotated by size, and who reads on misses nothing that is still there, and is told what is not", async () => {
  const log = openLog(10_000);
  const write = async (from: number, to: number): Promise<void> => {
    for (let i = from; i < to; i++) await log.write("stdout", [`line ${i} ${"x".repeat(60)}`]);
  };
  const numbers = (page: { readonly items: readonly LogItem[] }) =>
    textsOf(page).map((text) => Number(text.split(" ")[1]));
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
  await write(0, 50);
  const { position } = await log.page({ lines: 1, wait: 0 });
  await write(50, 150);
  expect((await stat(file)).size).toBeLessThanOrEqual(10_000);
  expect((await stat(`${file}.1`)).size).toBeLessThanOrEqual(10_000);
  for (const lines of [1, 7, 1000]) {
    const read = await rest(log, position, lines);
    expect([numbers(read), read.missed]).toEqual([range(50, 150), false]);
  }
  // Every number of last lines, across the two files.
  const kept = (await rest(log, "0-0")).items.length;
  expect(kept).toBeGreaterThan(120);
  for (let lines = 1; lines <= kept; lines += 11) {
    expect(numbers(await rest(log, undefined, lines)).slice(0, lines)).toEqual(range(150 - lines, 150));
  }
  await write(150, 400);
  const late = await rest(log, position);
  expect(late.missed).toBe(true);
  expect(numbers(late)).toEqual(range(numbers(late)[0] as number, 400));
  expect((await rest(log, late.position)).items).toEqual([]);
});

test("a page has a bounded size, whatever the lines", async () => {
  const log = openLog();
  await log.write(
    "stdout",
    Array.from({ length: 200 }, (_, i) => `${i} ${'"'.repeat(8000)}`),
  );
  const page = await log.page({ lines: 1000, wait: 0 });
  expect(page.more).toBe(true);
  expect(JSON.stringify(page).length).toBeLessThan(1_000_000);
  expect((await rest(log, undefined)).items).toHaveLength(200);
  await log.write(
    "stdout",
    Array.from({ length: 1500 }, () => ""),
  );
  expect(
    (await log.page({ lines: 1_000_000, after: (await log.page({ lines: 1, wait: 0 })).position, wait: 0 })).items,
  ).toEqual([]);
  const many = await log.page({ lines: 1500, wait: 0 });
  expect([many.items.length, many.more]).toEqual([1000, true]);
});

test("an empty page waits for lines, for as long as it may", async () => {
  const log = openLog();
  await log.write("stdout", ["a"]);
  const { position } = await log.page({ lines: 1, wait: 0 });
  const waiting = log.page({ lines: 10, after: position, wait: 20_000 });
  await sleep(50);
  await log.write("stdout", ["b"]);
  expect(textsOf(await waiting)).toEqual(["b"]);
  const began = performance.now();
  expect(
    await log.page({ lines: 10, after: (await log.page({ lines: 1, wait: 0 })).position, wait: 100 }),
  ).toMatchObject({ items: [] });
  expect(performance.now() - began).toBeGreaterThan(90);
  const last = log.page({ lines: 10, after: (await log.page({ lines: 1, wait: 0 })).position, wait: 20_000 });
  await sleep(20);
  log.close();
  expect(await last).toMatchObject({ items: [] });
});

test("what a crash cut off stays a line of its own, and what somebody wrote into it does no harm", async () => {
  await openLog().write("stdout", ["whole"]);
  await appendFile(file, "2026-11-20T21:40:00.123Z stdout cut o");
  const log = openLog();
  expect(textsOf(await log.page({ lines: 10, wait: 0 }))).toEqual(["whole"]);
  await log.write("stdout", ["next"]);
  await appendFile(file, `not a line of ours\n${"z".repeat(600_000)}\n`);
  await log.write("stdout", ["end"]);
  const { items } = await rest(log, undefined);
  expect(textsOf({ items: items.slice(0, 3) })).toEqual(["whole", "cut o", "next"]);
  expect(items[3]).toEqual({ time: null, stream: "daemon", text: "not a line of ours" });
  expect(items.at(-1)?.text).toBe("end");
});

test("a log that can't be written costs lines and says so once; a file that is gone is made again", async () => {
  const log = openLog();
  await log.write("stdout", ["before"]);
  await rm(file);
  await log.write("stdout", ["after"]);
  expect(await readFile(file, "utf8")).toMatch(/stdout after\n$/);
  await rm(file);
  await mkdir(file);
  await log.write("stdout", ["lost"]);
  await log.write("stdout", ["lost"]);
  expect(warnings).toHaveLength(1);
  await rm(file, { recursive: true });
  await log.write("stdout", ["found"]);
  expect(textsOf(await log.page({ lines: 5, wait: 0 }))).toEqual(["found"]);
  await writeFile(`${file}.1`, "");
  await log.delete();
  await expect(stat(file)).rejects.toThrow("ENOENT");
  await expect(stat(`${file}.1`)).rejects.toThrow("ENOENT");
});

test("who writes faster than the pace waits", async () => {
  const pace = new Pace(1_000_000, 100_000);
  const began = performance.now();
  await pace.spend(100_000);
  expect(performance.now() - began).toBeLessThan(50);
  await pace.spend(100_000);
  await pace.spend(100_000);
  expect(performance.now() - began).toBeGreaterThan(150);
});
