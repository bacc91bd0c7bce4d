import { execFile } from "node:child_process";
import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Bench } from "../bench.ts";
import { figure, megabytes, seconds } from "../figures.ts";
import { databaseBytes } from "../io.ts";
import { makeMixed } from "../states/mixed-state.ts";
import { measured } from "./measured.ts";

const AGENT = "mixed";
const TIMEOUT = 3_600_000;
const run = promisify(execFile);

/** A new machine: how long until it has all that the bucket has, beside copying as many bytes and hashing them. */
export async function cloneSection(bench: Bench): Promise<void> {
  const folder = await bench.folder();
  const home = join(folder, "first");
  const state = await makeMixed(home, AGENT, bench.scale(1 << 30, 96 << 20), (line) =>
    bench.progress(`clone: ${line}`),
  );
  const bucket = `file://${join(folder, "bucket")}`;

  const first = await bench.startDaemon(home, { syncsWhenAsked: true });
  await first.register(AGENT);
  bench.progress("clone: pushing");
  const push = await measured(first, async (admin) => {
    await admin.admin("sync.init", { uri: bucket });
    return await admin.admin("sync.push", {}, { timeout: TIMEOUT });
  });
  const sent = push.reply.agents[0];
  if (sent === undefined || sent.error !== null) throw new Error(`the push failed: ${sent?.error?.message ?? ""}`);
  await first.stop();

  const copied = await copyAndHash(state.path, join(folder, "copy.db"));
  bench.progress("clone: cloning");
  const second = await bench.startDaemon(join(folder, "second"), { syncsWhenAsked: true });
  const pull = await measured(second, async (admin) => {
    await admin.admin("sync.init", { uri: bucket, join: true });
    return await admin.admin("sync.pull", {}, { timeout: TIMEOUT });
  });
  const got = pull.reply.agents[0];
  if (got === undefined || got.error !== null) throw new Error(`the pull failed: ${got?.error?.message ?? ""}`);
  await second.stop();
  // Before and after: a machine that others use is slow for both.
  const again = await copyAndHash(state.path, join(folder, "copy-2.db"));

  const copy = (copied + again) / 2;
  const what = `${megabytes(state.bytes)} of values`;
  bench.report.ratio("clone", "clone/copy", pull.took / copy, `${seconds(pull.took)} / ${seconds(copy)}, ${what}`);
  bench.report.ratio("clone", "push-memory", push.memory / 1024 / 1024, what);
  bench.report.ratio("clone", "pull-memory", pull.memory / 1024 / 1024, what);
  bench.report.table({
    section: "clone",
    title: `A new machine: ${figure(state.large)} values of 4 MB and ${figure(state.notes)} notes`,
    columns: ["", "bytes", "time", "memory above idle"],
    rows: [
      ["push", `${megabytes(sent.bytes)} in packs`, seconds(push.took), megabytes(push.memory)],
      ["clone", `${megabytes(got.bytes)} in packs`, seconds(pull.took), megabytes(pull.memory)],
      ["`cp` of objects.db, fsync, `sha256sum`", megabytes(databaseBytes(state.path)), seconds(copy), ""],
    ],
  });
}

/** What it takes at least to have the bytes elsewhere, durable, and to know that they are right: milliseconds. */
async function copyAndHash(from: string, to: string): Promise<number> {
  await mkdir(join(to, ".."), { recursive: true });
  const started = performance.now();
  await run("cp", [from, to]);
  const file = await open(to, "r+");
  await file.sync();
  await file.close();
  await run("sha256sum", [to]);
  return performance.now() - started;
}
