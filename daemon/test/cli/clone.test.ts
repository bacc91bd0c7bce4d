import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { type AgentName, MAIN } from "@vlinder/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { IS_LONG } from "../../../test/harness/long.ts";
import type { Core } from "../../src/daemon-core.ts";
import { put } from "../state/harness.ts";
import { documentOf, PROGRAM, startDaemon, temporary, vlinder, withCore } from "./harness.ts";

// A bucket with some agents, made once, and machines that have nothing yet.

const AGENTS = ["a", "b"] as AgentName[];

let folder: Awaited<ReturnType<typeof temporary>>;
let bucket: string;
/** Agent → commit of its main. */
let states: Readonly<Record<string, unknown>>;

const statesOf = (core: Core): Record<string, unknown> =>
  Object.fromEntries(core.registry.list().map(({ name, agent }) => [name, agent?.engine.branch(MAIN).head]));

beforeAll(async () => {
  folder = await temporary();
  bucket = join(folder.path, "bucket");
  process.env["VLINDER_URL"] = "";
  states = await withCore(join(folder.path, "first"), async (core) => {
    for (const name of AGENTS) {
      await mkdir(join(folder.path, name));
      await writeFile(
        join(folder.path, name, "agent.toml"),
        `name = "${name}"\nobject_storage = "sqlite://objects.db"\n`,
      );
      await core.register(join(folder.path, name));
      await put(core.registry.get(name).engine, { "/a": randomBytes(IS_LONG ? 40 << 20 : 1 << 20) });
    }
    await core.sync.init(pathToFileURL(bucket).href);
    expect((await core.push()).agents.map(({ error }) => error)).toEqual([null, null]);
    return statesOf(core);
  });
}, 120_000);

afterAll(() => folder.remove());

/** Kills a clone as soon as something is there, or after its end. */
async function killedClone(home: string, sign: string): Promise<void> {
  const child = spawn(process.execPath, [PROGRAM, "clone", bucket], {
    env: { ...process.env, VLINDER_HOME: home },
    stdio: "ignore",
  });
  const exited = once(child, "exit");
  while (!existsSync(join(home, sign)) && child.exitCode === null) await sleep(2);
  if (IS_LONG) await sleep(Math.random() * 500);
  child.kill("SIGKILL");
  await exited;
}

test("killed at any point, it goes on where it was, and ends with all that the bucket has", async () => {
  const home = join(folder.path, "killed");
  const signs = ["agents/a/sync.db"];
  if (IS_LONG) signs.unshift("device.json", "sync/device-key", "sync/bucket.json", "agents/a");
  if (IS_LONG) signs.push("agents/b/sync.db");
  for (const sign of signs) await killedClone(home, sign);
  process.env["VLINDER_HOME"] = home;
  const ran = await vlinder(["clone", bucket, "--json"]);
  expect(ran.code).toBe(0);
  expect(documentOf(ran)).toMatchObject({ daemon: false, waiting: AGENTS });
  await withCore(home, async (core) => {
    expect(statesOf(core)).toEqual(states);
    for (const agent of AGENTS) expect((await core.registry.get(agent).engine.verify()).damaged).toBe(0);
  });
}, 240_000);

test("shows how far it is on a terminal, says what to do next; a home with agents of its own is refused", async () => {
  const home = (process.env["VLINDER_HOME"] = join(folder.path, "third"));
  const shown = await vlinder(["clone", bucket], { tty: true });
  expect(shown.code).toBe(0);
  expect(shown.err).toMatch(/pulling a {2}[█░]+ +\d+ % {2}1\.\d MB of 2\.\d MB/);
  expect(shown.out).toContain("vlinderd");
  expect(shown.out).toContain("code is not in the bucket; without a folder yet: a, b");
  const daemon = await startDaemon(home);
  try {
    // The same bucket once more is what goes on after a kill.
    const again = await vlinder(["clone", bucket, "--json"]);
    expect([again.code, documentOf(again)]).toMatchObject([0, { daemon: true, waiting: AGENTS }]);
    await vlinder(["agent", "add", join(folder.path, "b")]);
    expect(documentOf(await vlinder(["clone", bucket, "--json"]))["waiting"]).toEqual(["a"]);
    const other = await vlinder(["clone", join(folder.path, "other"), "--json"]);
    expect([other.code, documentOf(other)]).toMatchObject([1, { error: { code: "conflict" } }]);
    expect(other.out).toContain("VLINDER_HOME");
  } finally {
    await daemon.stop();
  }
}, 120_000);
