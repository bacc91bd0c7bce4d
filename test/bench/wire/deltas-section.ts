import { copyFile, open } from "node:fs/promises";
import { join } from "node:path";
import { Client, type Vlinder } from "@vlinder/agent-runtime";
import type { Bench } from "../bench.ts";
import { kilobytes, megabytes } from "../figures.ts";
import { databaseBytes } from "../io.ts";
import { makeMixed } from "../states/mixed-state.ts";
import { keyAt, Values } from "../values.ts";
import type { Daemon } from "./daemon.ts";

const AGENT = "mixed";
const TIMEOUT = 3_600_000;
/** Of SQLite, and about that of Xet's chunks. */
const PAGE = 4096;
const CHUNK = 64 << 10;

/** A kind of bucket, and how a new one is named. */
interface BucketKind {
  readonly name: string;
  readonly uri: (folder: string) => string;
}
const KINDS: readonly BucketKind[] = [{ name: "file", uri: (folder) => `file://${join(folder, "bucket")}` }];

/** How many bytes travel when little of much changes, beside what a copy of the database would send. */
export async function deltasSection(bench: Bench): Promise<void> {
  for (const kind of KINDS) await deltasOf(bench, kind);
}

async function deltasOf(bench: Bench, kind: BucketKind): Promise<void> {
  const folder = await bench.folder();
  const say = (line: string): void => bench.progress(`deltas of ${kind.name}: ${line}`);
  const state = await makeMixed(join(folder, "first"), AGENT, bench.scale(1 << 30, 96 << 20), say);
  const bucket = kind.uri(folder);
  const [first, second] = [
    await bench.startDaemon(join(folder, "first")),
    await bench.startDaemon(join(folder, "second")),
  ];
  await first.register(AGENT);
  say("the first push and the first pull");
  await sync(first, bucket);
  await sync(second, bucket);
  // The head of the second machine is there, too, from now on.
  await sync(first, bucket);

  const vlinder = await first.connect(AGENT);
  const rows: string[][] = [];
  for (const { name, change, ratio, shown } of [
    { name: "1 MB", change: oneMegabyte, ratio: ["delta-up-1MB", "delta-down-1MB"], shown: megabytes },
    { name: "1 KB", change: oneKilobyte, ratio: ["delta-up-1KB", "delta-down-1KB"], shown: kilobytes },
  ] as const) {
    say(`${name} changed`);
    const before = join(folder, "before.db");
    await checkpointed(state.path, before);
    await change(vlinder);
    const { up } = await sync(first, bucket, "push");
    const { down } = await sync(second, bucket, "pull");
    const after = join(folder, "after.db");
    await checkpointed(state.path, after);
    const per = name === "1 MB" ? 1 << 20 : 1024;
    bench.report.ratio("deltas", ratio[0], up / per, `${shown(up)} into a bucket of kind ${kind.name}`);
    bench.report.ratio("deltas", ratio[1], down / per, `${shown(down)} from a bucket of kind ${kind.name}`);
    rows.push([
      `${name} (${kind.name})`,
      shown(up),
      shown(down),
      megabytes(databaseBytes(after)),
      megabytes(await changed(before, after, CHUNK)),
      megabytes(await changed(before, after, PAGE)),
    ]);
  }
  bench.report.table({
    section: "deltas",
    title: `${megabytes(state.bytes)} of values, and so much changed`,
    columns: ["", "up", "down", "whole objects.db", "its 64 KB blocks that differ", "its 4 KB pages that differ"],
    rows,
    notes: [
      "The last columns are what other ways would send at least, without what it takes to find it out: a copy, one that cuts the file as Xet does, " +
        "and one that knows SQLite's pages, as `rsync` with blocks of that size.",
    ],
  });
}

async function oneMegabyte({ kv }: Vlinder): Promise<void> {
  await kv.put(`/large${keyAt(0)}`, new Values(1 << 20).next());
}

async function oneKilobyte({ kv }: Vlinder): Promise<void> {
  await kv.put(`/notes${keyAt(7)}`, new Values(1024).next());
}

async function sync(
  { home }: Daemon,
  uri: string,
  only?: "push" | "pull",
): Promise<{ readonly up: number; readonly down: number }> {
  const admin = await Client.connect({ home, timeout: 60_000 });
  const bytesOf = ({ agents }: { agents: readonly { bytes: number; error: unknown }[] }): number => {
    const failed = agents.find(({ error }) => error !== null);
    if (failed !== undefined) throw new Error(`sync failed: ${JSON.stringify(failed.error)}`);
    return agents.reduce((sum, { bytes }) => sum + bytes, 0);
  };
  try {
    if ((await admin.admin("sync.status")).bucket === null) await admin.admin("sync.init", { uri });
    const patient = { timeout: TIMEOUT };
    const down = only === "push" ? 0 : bytesOf(await admin.admin("sync.pull", {}, patient));
    const up = only === "pull" ? 0 : bytesOf(await admin.admin("sync.push", {}, patient));
    return { up, down };
  } finally {
    await admin.close();
  }
}

/** A copy of the database with its log: what the daemon has not moved into the file yet is in the second. */
async function checkpointed(path: string, to: string): Promise<void> {
  const { default: Database } = await import("better-sqlite3");
  const database = new Database(path);
  try {
    database.pragma("wal_checkpoint(PASSIVE)");
    await copyFile(path, to);
  } finally {
    database.close();
  }
}

/** Bytes of the blocks of the second file that are not at the same place in the first. */
async function changed(before: string, after: string, block: number): Promise<number> {
  const [a, b] = [await open(before, "r"), await open(after, "r")];
  const [one, two] = [Buffer.alloc(1 << 20), Buffer.alloc(1 << 20)];
  let bytes = 0;
  try {
    for (let at = 0; ; at += two.length) {
      const read = (await b.read(two, 0, two.length, at)).bytesRead;
      if (read === 0) return bytes;
      const known = (await a.read(one, 0, one.length, at)).bytesRead;
      for (let from = 0; from < read; from += block) {
        const to = Math.min(from + block, read);
        if (to > known || !one.subarray(from, to).equals(two.subarray(from, to))) bytes += to - from;
      }
    }
  } finally {
    await a.close();
    await b.close();
  }
}
