import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { AgentName } from "@vlinder/protocol";
import type { Bench } from "../bench.ts";
import { figure, megabytes, perSecond } from "../figures.ts";
import { Rounds } from "../measure.ts";
import { EngineStore } from "../states/engine-store.ts";
import { keyAt, Values } from "../values.ts";
import { Daemon } from "./daemon.ts";

const LARGE_BYTES = 4 << 20;
const TIMEOUT = 1_200_000;
type Name = "verify" | "sha256";

/** Verifying: large values against `sha256sum`, small commits against the rate at which they were put. */
export async function verifySection(bench: Bench): Promise<void> {
  await largeValues(bench);
  await smallCommits(bench);
}

async function largeValues(bench: Bench): Promise<void> {
  const folder = await bench.folder();
  const home = join(folder, "home");
  const agent = "large";
  const path = Daemon.fileOf(home, agent);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  bench.progress("verify: writing large values");
  const count = bench.scale(64, 12);
  const store = await EngineStore.open(path, agent);
  const files: string[] = [];
  const values = new Values(LARGE_BYTES);
  const contents: Uint8Array[] = [];
  for (let n = 0; n < count; n++) {
    const value = values.next();
    await store.put([keyAt(n)], { next: () => value });
    const file = join(folder, `${n}.bin`);
    await writeFile(file, value);
    files.push(file);
    contents.push(value);
  }
  await store.close();
  const daemon = await bench.startDaemon(home);
  await daemon.register(agent);
  const bytes = count * LARGE_BYTES;
  const rounds = new Rounds<Name>();
  const rate = async (work: () => Promise<unknown>): Promise<number> => {
    const started = performance.now();
    await work();
    return (bytes * 1000) / (performance.now() - started);
  };
  let program = "sha256sum";
  for (let round = 0; round <= bench.rounds; round++) {
    bench.progress(round === 0 ? "verify: warming up" : `verify: round ${round} of ${bench.rounds}`);
    const verified = await rate(() => verify(daemon, agent));
    const hashed = await rate(async () => {
      if (await sha256sum(files)) return;
      program = "node:crypto";
      for (const value of contents) createHash("sha256").update(value).digest();
    });
    if (round === 0) continue;
    rounds.add("verify", verified);
    rounds.add("sha256", hashed);
  }
  await daemon.stop();
  const shown = (name: Name): string => `${megabytes(rounds.median(name))}/s`;
  bench.report.ratio(
    "verify",
    "verify/sha256sum",
    rounds.ratio("verify", "sha256"),
    `${shown("verify")} / ${shown("sha256")} (${program})`,
  );
  bench.report.table({
    section: "verify",
    title: "Verify: large values",
    columns: ["values", "verify", program],
    rows: [[`${count} of ${megabytes(LARGE_BYTES)}`, shown("verify"), shown("sha256")]],
  });
}

async function smallCommits(bench: Bench): Promise<void> {
  const long = await bench.states.long();
  const daemon = await bench.startDaemon(long.home);
  await daemon.register(long.agent);
  bench.progress(`verify: ${figure(long.keys)} small commits`);
  const started = performance.now();
  const { counts } = await verify(daemon, long.agent);
  const rate = (long.keys * 1000) / (performance.now() - started);
  await daemon.stop();
  if (counts.commits < long.keys) throw new Error(`verify saw ${counts.commits} of ${long.keys} commits`);
  bench.report.ratio("verify", "verified/put", rate / long.putRate, `${perSecond(rate)} / ${perSecond(long.putRate)}`);
  bench.report.table({
    section: "verify",
    title: "Verify: small commits of a new key each",
    columns: ["commits", "nodes", "values", "commits verified", "commits put, in process"],
    rows: [
      [figure(counts.commits), figure(counts.nodes), figure(counts.values), perSecond(rate), perSecond(long.putRate)],
    ],
  });
}

/** @throws an Error when what the bench wrote is not intact */
async function verify(daemon: Daemon, agent: string) {
  const { client } = await daemon.connect(agent);
  const reply = await client.request(agent as AgentName, "timeline.verify", {}, { timeout: TIMEOUT });
  if (!reply.ok) throw new Error("verify found damage in what the bench wrote");
  return reply;
}

/** Whether there is such a program here. */
async function sha256sum(files: readonly string[]): Promise<boolean> {
  try {
    await promisify(execFile)("sha256sum", files);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}
