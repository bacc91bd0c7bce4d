import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { IS_LONG } from "../../../test/harness/long.ts";
import { objectsOfApply } from "./apply-load-objects.ts";
import { has, openSqlite, temporaryFolder } from "./samples.ts";

const CHILD = fileURLToPath(new URL("apply-load.ts", import.meta.url));

/** Runs the load, kills it with -9 a while after its first acknowledgement; returns the numbers acknowledged. */
async function killedLoad(path: string, first: number, milliseconds: number): Promise<number[]> {
  const child = spawn(process.execPath, [CHILD, path, String(first)], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  const closed = once(child, "close");
  await Promise.race([once(child.stdout, "data"), closed]);
  await sleep(milliseconds);
  child.kill("SIGKILL");
  await closed;
  expect(child.signalCode).toBe("SIGKILL");
  return output.split("\n").slice(0, -1).map(Number);
}

test("kill -9 in the midst of applies loses nothing that was acknowledged", { timeout: 120_000 }, async () => {
  const path = join(await temporaryFolder(), "objects.db");
  let first = 0;
  for (let round = 0; round < (IS_LONG ? 6 : 3); round++) {
    const acknowledged = await killedLoad(path, first, 50 + 70 * round);
    expect(acknowledged.length).toBeGreaterThan(0);
    const storage = await openSqlite(path);
    for (const number of acknowledged) {
      for (const object of objectsOfApply(number)) expect(await has(storage, object)).toBe(true);
    }
    // Each apply is there as a whole or not at all.
    const { counts } = await storage.usage();
    expect(counts.value % 20).toBe(0);
    let scanned = 0;
    for (let page = await storage.scan("value", null, 1000); page.length > 0;) {
      scanned += page.length;
      page = await storage.scan("value", page.at(-1)?.hash ?? null, 1000);
    }
    expect(scanned).toBe(counts.value);
    await storage.close();
    const db = new Database(path, { readonly: true });
    expect(db.pragma("integrity_check", { simple: true })).toBe("ok");
    db.close();
    first = Math.max(...acknowledged) + 1000;
  }
});
