import { execFileSync } from "node:child_process";
import { chmodSync, closeSync, copyFileSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { VlinderError } from "@vlinder/protocol";
import { expect, onTestFinished, test } from "vitest";
import { has, objects, openSqlite, refusal, temporaryFolder, value } from "./samples.ts";

/** Whether this machine lets the tests mount a file system of their own; elsewhere those are skipped. */
const canMount = ((): boolean => {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return false;
  try {
    mkdirSync("/tmp/vlinder-mount-probe", { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/tmp/vlinder-mount-probe"], { stdio: "ignore" });
    execFileSync("umount", ["/tmp/vlinder-mount-probe"]);
    return true;
  } catch {
    return false;
  }
})();

function mount(folder: string, ...args: string[]): void {
  execFileSync("mount", [...args, folder]);
  onTestFinished(() => void execFileSync("umount", [folder]));
}

async function unavailable(attempt: Promise<unknown>, remedy: RegExp): Promise<void> {
  const error = await refusal(attempt);
  expect(error).toBeInstanceOf(VlinderError);
  expect(error).toMatchObject({ code: "unavailable", remedy: expect.stringMatching(remedy) });
}

test("a file that can't grow: nothing half-written, and writes go on when there is room", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  const storage = await openSqlite(path, { maxPages: 120 });
  const small = Array.from({ length: 10 }, (_, index) => value(index, 30_000));
  await storage.apply(objects(...small));
  await unavailable(storage.apply(objects(value("small too"), value("large", 400_000))), /free space/);
  expect(await has(storage, value("small too"))).toBe(false);
  expect((await storage.usage()).counts.value).toBe(10);
  // Of those that were under way together, each that has room is stored.
  const together = await Promise.allSettled(
    [value("a"), value("large", 400_000), value("b")].map((one) => storage.apply(objects(one))),
  );
  expect(together.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  await storage.remove(
    "value",
    small.map(({ hash }) => hash),
  );
  await storage.apply(objects(value("medium", 200_000)));
  expect(await has(storage, value("medium", 200_000))).toBe(true);
});

test.skipIf(!canMount)("a full disk: refused, and writes go on when space is free", async () => {
  const folder = await temporaryFolder();
  mount(folder, "-t", "tmpfs", "-o", "size=4m", "tmpfs");
  const storage = await openSqlite(join(folder, "objects.db"), { durability: "disk" });
  await storage.apply(objects(value(1)));
  const ballast = openSync(join(folder, "ballast"), "w");
  expect(() => {
    for (;;) writeSync(ballast, Buffer.alloc(65_536));
  }).toThrow(/ENOSPC/);
  for (const name of [2, 3]) await unavailable(storage.apply(objects(value(name, 300_000))), /free space|check space/);
  expect(await has(storage, value(1))).toBe(true);
  expect(await has(storage, value(2, 300_000))).toBe(false);
  closeSync(ballast);
  rmSync(join(folder, "ballast"));
  await storage.apply(objects(value(4, 300_000)));
  expect((await storage.usage()).counts.value).toBe(2);
  await storage.close();
});

test("a disk that is read-only", async ({ skip }) => {
  const folder = await temporaryFolder();
  const path = join(folder, "objects.db");
  const storage = await openSqlite(path);
  await storage.apply(objects(value(1)));
  await storage.close();
  if (canMount) {
    execFileSync("mount", ["--bind", folder, folder]);
    onTestFinished(() => void execFileSync("umount", [folder]));
    execFileSync("mount", ["-o", "remount,bind,ro", folder]);
  } else if (process.getuid?.() === 0) {
    skip("root writes everywhere, and mount is not allowed here");
  } else {
    chmodSync(path, 0o444);
    chmodSync(folder, 0o555);
  }
  await unavailable(openSqlite(path), /writ/);
  if (canMount) execFileSync("mount", ["-o", "remount,bind,rw", folder]);
  else chmodSync(folder, 0o755);
  chmodSync(path, 0o644);
  expect(await has(await openSqlite(path), value(1))).toBe(true);
});

test("a file that another program keeps locked", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  const storage = await openSqlite(path);
  const other = new Database(path);
  other.exec("BEGIN IMMEDIATE");
  await unavailable(storage.apply(objects(value(1))), /program/);
  other.exec("ROLLBACK");
  other.close();
  await storage.apply(objects(value(2)));
  expect(await Promise.all([1, 2].map((name) => has(storage, value(name))))).toEqual([false, true]);
});

test("a newer schema, another program's database and a text are refused, and stay as they are", async () => {
  const folder = await temporaryFolder();
  const path = join(folder, "objects.db");
  await (await openSqlite(path)).close();
  const newer = new Database(path);
  newer.pragma("user_version = 1000");
  newer.close();
  expect(await refusal(openSqlite(path))).toMatchObject({
    code: "invalid",
    remedy: expect.stringContaining("update vlinder"),
  });

  const foreign = new Database(join(folder, "foreign.db"));
  foreign.exec("CREATE TABLE theirs(x)");
  foreign.close();
  expect(await refusal(openSqlite(join(folder, "foreign.db")))).toMatchObject({ code: "invalid" });

  writeFileSync(join(folder, "text.db"), "this is a text, ".repeat(1000));
  expect(await refusal(openSqlite(join(folder, "text.db")))).toMatchObject({ code: "invalid" });
  writeFileSync(join(folder, "file"), "");
  await unavailable(openSqlite(join(folder, "file", "objects.db")), /./);
});

test("a damaged file: unavailable, not to be tried again, with what to do", async () => {
  const folder = await temporaryFolder();
  const path = join(folder, "objects.db");
  const storage = await openSqlite(path);
  await storage.apply(objects(...Array.from({ length: 500 }, (_, index) => value(index, 300))));
  await storage.close();
  copyFileSync(path, join(folder, "copy.db"));
  const file = openSync(path, "r+");
  for (let page = 1; page < 60; page++) writeSync(file, Buffer.alloc(4000, "damage"), 0, 4000, page * 4096);
  closeSync(file);
  const error = await refusal(openSqlite(path));
  expect(error).toMatchObject({ code: "unavailable", retryable: false, remedy: expect.stringContaining("copy") });
  expect(await has(await openSqlite(join(folder, "copy.db")), value(7, 300))).toBe(true);
});

test("what is closed says so", async () => {
  const storage = await openSqlite(join(await temporaryFolder(), "objects.db"));
  await storage.close();
  for (const attempt of [storage.apply(objects(value(1))), storage.read("value", []), storage.branches()]) {
    await unavailable(attempt, /open it/);
  }
});

test("removed bytes are in the file no more", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  let storage = await openSqlite(path);
  const secret = Array.from({ length: 50 }, (_, index) => value(`s3cret ${index}`, 5000));
  await storage.apply(objects(...secret, value("kept")));
  const found = (): boolean =>
    execFileSync("sh", ["-c", `cat '${path}'* | grep -c s3cret || true`]).toString() !== "0\n";
  expect(found()).toBe(true);
  await storage.remove(
    "value",
    secret.map(({ hash }) => hash),
  );
  await storage.close();
  expect(found()).toBe(false);
  storage = await openSqlite(path);
  expect(await has(storage, value("kept"))).toBe(true);
});
