import { randomBytes } from "node:crypto";
import { copyFile, open, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Vlinder } from "@vlinder/agent-runtime";
import type { Bucket } from "../../../daemon/src/sync/buckets/bucket.ts";
import { MAX_COMMIT, openHfBucket } from "../../../daemon/src/sync/buckets/hf.ts";
import { NODE_FLAGS } from "../../../daemon/src/node-flags.ts";
import { SentMap } from "../../../daemon/src/sync/databases/sent-map.ts";
import type { Bench } from "../bench.ts";
import { Child } from "../child.ts";
import { kilobytes, megabytes, seconds } from "../figures.ts";
import { databaseBytes } from "../io.ts";
import { makeMixed } from "../states/mixed-state.ts";
import { keyAt, Values } from "../values.ts";
import { type BucketPlace, PLACES } from "./bucket-kinds.ts";
import type { Daemon } from "./daemon.ts";
import { type Measured, measured } from "./measured.ts";

const AGENT = "mixed";
const TIMEOUT = 3_600_000;
/** Of SQLite, and about that of Xet's chunks. */
const PAGE = 4096;
const CHUNK = 64 << 10;
/** About what a pack has, whose values do not compress. */
const PACK = 16 << 20;

const CHANGES = [
  {
    name: "1 MB",
    ratio: "1MB",
    per: 1 << 20,
    shown: megabytes,
    change: ({ kv }: Vlinder) => kv.put(`/large${keyAt(0)}`, new Values(1 << 20).next()),
  },
  {
    name: "1 KB",
    ratio: "1KB",
    per: 1024,
    shown: kilobytes,
    change: ({ kv }: Vlinder) => kv.put(`/notes${keyAt(7)}`, new Values(1024).next()),
  },
] as const;

/** How many bytes travel when little of much changes, beside what copies of the database would send. */
export async function deltasSection(bench: Bench): Promise<void> {
  const first: string[][] = [];
  const rows: string[][] = [];
  let bytes = 0;
  for (const open of PLACES) {
    const found = await deltasOf(bench, await open(bench));
    first.push(...found.first);
    rows.push(...found.rows);
    ({ bytes } = found);
  }
  bench.report.table({
    section: "deltas",
    title: `A first push of ${megabytes(bytes)} of values, and a first pull, by kind of bucket`,
    columns: ["", "bytes", "time", "memory above idle", "@huggingface/hub alone"],
    rows: first,
    notes: [
      "The client alone uploads and downloads as many bytes in a process of its own, in commits of the same size.",
      "On `hf` and `s3` bytes on the wire, with headers; on `file` those of the packs. The servers run on the same machine and check or store all that they get: times are theirs as well.",
    ],
  });
  bench.report.table({
    section: "deltas",
    title: `${megabytes(bytes)} of values, and so much changed`,
    columns: [
      "",
      "up",
      "down",
      "whole objects.db",
      "the same by @huggingface/hub",
      "with vlinder's memory of chunks",
      "its 64 KB blocks that differ",
      "its 4 KB pages that differ",
    ],
    rows,
    notes: [
      "The other columns are what other ways send, or send at least: a copy as by `rsync` without blocks; a push of the file by the client of Hugging Face, as it is, and as `[sync] databases` does it; " +
        "and blocks and pages that differ, without what it takes to find out which.",
    ],
  });
}

interface Found {
  readonly bytes: number;
  readonly first: readonly string[][];
  readonly rows: readonly string[][];
}

async function deltasOf(bench: Bench, place: BucketPlace): Promise<Found> {
  const { kind, env } = place;
  const folder = await bench.folder();
  const say = (line: string): void => bench.progress(`deltas of ${kind}: ${line}`);
  const state = await makeMixed(join(folder, "first"), AGENT, bench.scale(1 << 30, 96 << 20), say);
  const first = await bench.startDaemon(join(folder, "first"), { env, syncsWhenAsked: true });
  await first.register(AGENT);
  const whole = kind === "hf" ? await WholeFile.open(place, join(folder, "whole.sent")) : null;
  say("the first push");
  const up = await synced(place, first, "push");
  const second = await bench.startDaemon(join(folder, "second"), { env, syncsWhenAsked: true });
  say("the first pull");
  const down = await synced(place, second, "pull");
  if (kind === "hf") say("the client alone");
  const alone = kind === "hf" ? await clientAlone(bench, place, down.bytes) : null;
  // The heads of both are known to both from now on.
  await synced(place, second, "push");
  await synced(place, first, "pull");

  const before = join(folder, "before.db");
  const after = join(folder, "after.db");
  await checkpointed(state.path, before);
  say("the first push of the whole file");
  await whole?.put(before, true);
  const vlinder = await first.connect(AGENT);
  const rows: string[][] = [];
  for (const { name, change, ratio, shown, per } of CHANGES) {
    say(`${name} changed`);
    await change(vlinder);
    const sent = await synced(place, first, "push");
    const got = await synced(place, second, "pull");
    await checkpointed(state.path, after);
    for (const [way, bytes] of [
      ["up", sent.bytes],
      ["down", got.bytes],
    ] as const) {
      bench.report.ratio("deltas", `delta-${way}-${ratio}-${kind}`, bytes / per, shown(bytes));
    }
    rows.push([
      `${name} (${kind})`,
      shown(sent.bytes),
      shown(got.bytes),
      megabytes(databaseBytes(after)),
      whole === null ? "" : megabytes(await whole.put(after, false)),
      whole === null ? "" : megabytes(await whole.put(after, true)),
      megabytes(await changed(before, after, CHUNK)),
      megabytes(await changed(before, after, PAGE)),
    ]);
    await rename(after, before);
  }
  await whole?.close();
  await first.stop();
  await second.stop();
  for (const [way, { memory }] of [
    ["push", up],
    ["pull", down],
  ] as const) {
    if (kind === "file") continue;
    const of = alone === null ? "" : `${megabytes(memory)} in all, ${megabytes(alone[way])} the client by itself; `;
    const own = Math.max(0, memory - (alone?.[way] ?? 0)) / 1024 / 1024;
    bench.report.ratio("deltas", `${way}-memory-${kind}`, own, `${of}${megabytes(state.bytes)} of values`);
  }
  const shown = (way: "push" | "pull", one: Synced): string[] => [
    `${way} (${kind})`,
    megabytes(one.bytes),
    seconds(one.took),
    megabytes(one.memory),
    alone === null ? "" : megabytes(alone[way]),
  ];
  return { bytes: state.bytes, first: [shown("push", up), shown("pull", down)], rows };
}

/** What the official client takes of memory, in bytes, for as many bytes as the vault's packs have, in a process of its own. */
async function clientAlone(
  bench: Bench,
  { env }: BucketPlace,
  bytes: number,
): Promise<{ readonly push: number; readonly pull: number }> {
  const folder = await bench.folder();
  for (let file = 0; file * PACK < bytes; file++) await writeFile(join(folder, `${file}`), randomBytes(PACK));
  const args = [env["HF_ENDPOINT"] ?? "", env["HF_TOKEN"] ?? "", "me/alone", folder, String(MAX_COMMIT)];
  const client = await Child.start("wire/hf-client-process.ts", args, NODE_FLAGS);
  try {
    const push = (await client.ask("push")) as number;
    await client.stop();
    const other = await Child.start("wire/hf-client-process.ts", args, NODE_FLAGS);
    bench.onEnd(() => other.stop());
    const pull = (await other.ask("pull")) as number;
    await other.stop();
    return { push, pull };
  } finally {
    await client.stop();
  }
}

/** A database that is put whole into a bucket of Hugging Face. */
class WholeFile {
  readonly #bucket: Bucket;
  readonly #place: BucketPlace;
  readonly #memory: SentMap;
  #puts = 0;

  private constructor(bucket: Bucket, place: BucketPlace, memory: SentMap) {
    this.#bucket = bucket;
    this.#place = place;
    this.#memory = memory;
  }

  static async open(place: BucketPlace, memory: string): Promise<WholeFile> {
    const bucket = await openHfBucket("hf://buckets/me/whole", { create: true, env: place.env });
    return new WholeFile(bucket, place, new SentMap(memory));
  }

  /** @param remembers whether the client is told what was uploaded before */
  async put(source: string, remembers: boolean): Promise<number> {
    this.#place.traffic?.();
    await this.#bucket.putFile(`objects-${this.#puts++}.db`, source, remembers ? this.#memory : undefined);
    return this.#place.traffic?.().up ?? Number.NaN;
  }

  async close(): Promise<void> {
    await this.#bucket.close();
  }
}

type Synced = Measured<unknown> & { readonly bytes: number };

/** A push or pull, and the bytes that went its way. */
async function synced({ uri, traffic }: BucketPlace, daemon: Daemon, what: "push" | "pull"): Promise<Synced> {
  const done = await measured(daemon, async (admin) => {
    if ((await admin.admin("sync.status")).bucket === null) await admin.admin("sync.init", { uri });
    traffic?.();
    return await admin.admin(`sync.${what}`, {}, { timeout: TIMEOUT });
  });
  const agents: readonly { readonly bytes: number; readonly error: unknown }[] = done.reply.agents;
  const failed = agents.find(({ error }) => error !== null);
  if (failed !== undefined) throw new Error(`sync failed: ${JSON.stringify(failed.error)}`);
  const wire = traffic?.();
  if (wire !== undefined) return { ...done, bytes: what === "push" ? wire.up : wire.down };
  return { ...done, bytes: agents.reduce((sum, { bytes }) => sum + bytes, 0) };
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
