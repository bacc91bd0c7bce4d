import { type AgentName, type Hash, type Progress, sha256 } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { Meter } from "../../src/sync/meter.ts";
import { PackFeed } from "../../src/sync/pack-feed.ts";
import { SentFilter } from "../../src/sync/sent-filter.ts";

const [A, B, C] = ["a", "b", "c"] as unknown as [Hash, Hash, Hash];

test("the next pack is on its way while one is worked on, and no more than that", async () => {
  const asked: string[] = [];
  const feed = new PackFeed(async (name) => (asked.push(name), `pack ${name}`));
  expect(await feed.take(A, B)).toBe("pack a");
  expect(asked).toEqual(["a", "b"]);
  expect(await feed.take(B, C)).toBe("pack b");
  expect(asked).toEqual(["a", "b", "c"]);
  // What was fetched in vain is fetched when it is asked for.
  expect(await feed.take(A, undefined)).toBe("pack a");
  expect(asked).toEqual(["a", "b", "c", "a"]);
});

test("what was fetched in vain is there before another one is asked for", async () => {
  const asked: string[] = [];
  let finish = (): void => {};
  const feed = new PackFeed((name) => {
    asked.push(name);
    return name === B ? new Promise<string>((resolve) => (finish = () => resolve(name))) : Promise.resolve(name);
  });
  await feed.take(A, B);
  const taking = feed.take(C, undefined);
  await new Promise((resolve) => setImmediate(resolve));
  expect(asked).toEqual(["a", "b"]);
  finish();
  expect(await taking).toBe("c");
});

test("an error of what is ahead is told to who takes it, and to nobody else", async () => {
  const feed = new PackFeed((name) => (name === B ? Promise.reject(new Error("no b")) : Promise.resolve(name)));
  await feed.take(A, B);
  await expect(feed.take(B, C)).rejects.toThrow("no b");
  await feed.take(A, B);
  await feed.settle();
});

test("who ends waits for what is on its way", async () => {
  let finish = (): void => {};
  const feed = new PackFeed((name) =>
    name === A ? Promise.resolve(name) : new Promise<string>((resolve) => (finish = () => resolve(name))),
  );
  await feed.take(A, B);
  let settled = false;
  const settling = feed.settle().then(() => (settled = true));
  await new Promise((resolve) => setImmediate(resolve));
  expect(settled).toBe(false);
  finish();
  await settling;
});

test("several agents' bytes are one number, which never goes over its total", () => {
  const told: Progress[] = [];
  const meter = new Meter((progress) => told.push(progress));
  const [todo, notes] = ["todo" as AgentName, "notes" as AgentName];
  meter.expect(todo, 100);
  meter.expect(notes, 50);
  const first = meter.of(todo, "pulling");
  first(40);
  first(100);
  meter.of(notes, "pulling")(80);
  expect(told).toEqual([
    { what: "pulling todo", done: 40, total: 150, unit: "bytes" },
    { what: "pulling todo", done: 100, total: 150, unit: "bytes" },
    { what: "pulling notes", done: 180, total: 180, unit: "bytes" },
  ]);
});

test("a filter of what was sent never says no of one that was, and seldom yes of one that was not", () => {
  const filter = new SentFilter();
  const hashes = Array.from({ length: 20_000 }, (_, i) => sha256(`${i}`));
  for (const hash of hashes.slice(0, 10_000)) filter.add(hash);
  expect(hashes.slice(0, 10_000).every((hash) => filter.mayHave(hash))).toBe(true);
  expect(hashes.slice(10_000).filter((hash) => filter.mayHave(hash)).length).toBeLessThan(10);
});
