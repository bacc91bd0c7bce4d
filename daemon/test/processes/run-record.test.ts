import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readdir, realpath, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { MARK } from "../../src/processes/environment.ts";
import { RunRecords } from "../../src/processes/run-record.ts";

const log = pino({ level: "silent" });
const OURS = "a".repeat(32);

/** A home, and the records in it. */
async function newHome(): Promise<{ home: string; records: RunRecords; folder: string }> {
  const home = await realpath(await mkdtemp(join(tmpdir(), "vlinder-records-")));
  onTestFinished(() => rm(home, { recursive: true }));
  return { home, records: await RunRecords.open(home, join(home, "run")), folder: join(home, "run", "agents") };
}

/** A process in a group of its own. */
async function sleeper(mark = "another"): Promise<ChildProcess & { readonly pid: number }> {
  const child = spawn("sleep", ["60"], { stdio: "ignore", detached: true, env: { ...process.env, [MARK]: mark } });
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child, "spawn");
  return child as ChildProcess & { readonly pid: number };
}

/** Whether it ended within a moment. */
async function hasEnded(child: ChildProcess): Promise<boolean> {
  const ended = () => child.exitCode !== null || child.signalCode !== null;
  for (let i = 0; i < 20 && !ended(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  return ended();
}

test("what was recorded is ended: by id and time of start, and by its mark", async () => {
  const { records, folder } = await newHome();
  const byId = await sleeper();
  records.write("one", "b".repeat(32), byId.pid);
  const byMark = await sleeper(OURS);
  records.write("two", OURS, null);
  expect((await stat(join(folder, "two.json"))).mode & 0o777).toBe(0o600);
  await records.endLeftovers(log);
  expect(await hasEnded(byId)).toBe(true);
  if (process.platform === "linux") expect(await hasEnded(byMark)).toBe(true);
  expect(await readdir(folder)).toEqual([]);
});

test("a process that got the id later, one of another home, and one of a damaged record are left alone", async () => {
  const { home, records, folder } = await newHome();
  const stranger = await sleeper();
  const record = { home, mark: OURS, pid: stranger.pid, started: "another time" };
  await writeFile(join(folder, "later.json"), JSON.stringify(record));
  await writeFile(join(folder, "cut.json"), JSON.stringify(record).slice(0, -5));
  await records.endLeftovers(log);
  expect(await hasEnded(stranger)).toBe(false);
  expect(await readdir(folder)).toEqual([]);

  // A home that was copied while its agent ran: the record names the first one.
  const theirs = await sleeper(OURS);
  records.write("theirs", OURS, theirs.pid);
  const copy = await newHome();
  await cp(folder, copy.folder, { recursive: true });
  await copy.records.endLeftovers(log);
  expect(await hasEnded(theirs)).toBe(false);
  await records.endLeftovers(log);
  expect(await hasEnded(theirs)).toBe(true);
});
