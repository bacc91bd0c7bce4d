import { setTimeout as sleep } from "node:timers/promises";
import Database from "better-sqlite3";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { sha256, VlinderError } from "@vlinder/protocol";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { keepThreads, letThreadsGo } from "../../../test/harness/kept-threads.ts";
import { WriterConnection } from "../../src/storage/backends/sqlite/writer-connection.ts";
import { writerPool } from "../../src/storage/backends/sqlite/writer-pool.ts";
import { has, objects, openSqlite, temporaryFolder, value } from "./samples.ts";

const DOOR = new URL("../../src/storage/backends/sqlite/sqlite-objects.ts", import.meta.url).href;

/** Runs a program that has `storage` open; returns what it printed, once it has ended by itself. */
async function run(path: string, body: string): Promise<string> {
  const source = `
    import { openSqliteObjects } from ${JSON.stringify(DOOR)};
    const storage = await openSqliteObjects({ path: ${JSON.stringify(path)}, durability: "disk" });
    const hash = "ab".repeat(32);
    ${body}`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  const [code] = await once(child, "close");
  expect(code).toBe(0);
  return output;
}

const APPLY = `storage.apply({ objects: [{ kind: "value", hash, bytes: Buffer.from("bytes") }], branches: [], replies: [] })`;
const SHOW = `console.log(String((await storage.read("value", [hash]))[0]));`;

// What these look at is the end of threads.
beforeAll(letThreadsGo);
afterAll(keepThreads);

test("the process ends after close, and also when it forgets to close", { timeout: 60_000 }, async () => {
  const path = join(await temporaryFolder(), "objects.db");
  expect(await run(path, `await ${APPLY}; ${SHOW} await storage.close();`)).toBe("bytes\n");
  expect(await run(path, SHOW)).toBe("bytes\n");
});

test("the process does not end before what is under way is answered", { timeout: 60_000 }, async () => {
  const path = join(await temporaryFolder(), "objects.db");
  expect(await run(path, `${APPLY}.then(() => console.log("stored"));`)).toBe("stored\n");
});

test("the threads end with the last database, and start again with the next", async () => {
  const folder = await temporaryFolder();
  const [one, two] = [await openSqlite(join(folder, "1.db")), await openSqlite(join(folder, "2.db"))];
  await one.close();
  expect(writerPool.threads.length).toBeGreaterThan(0);
  await two.apply(objects(value(1)));
  await two.close();
  expect(writerPool.threads).toEqual([]);
  const again = await openSqlite(join(folder, "2.db"));
  expect(await has(again, value(1))).toBe(true);
});

test("when a writer thread dies, what is under way is refused, and the next apply has a new thread", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  const storage = await openSqlite(path);
  await storage.apply(objects(value(1)));
  const dying = writerPool.threads[0];
  // While somebody else holds the lock the thread is surely at work, however fast or busy the machine is.
  const other = new Database(path);
  other.exec("BEGIN IMMEDIATE");
  const under = [2, 3].map((name) =>
    storage.apply(objects(value(name))).then(
      () => null,
      (error: unknown) => error,
    ),
  );
  await sleep(50);
  const ended = dying?.terminate();
  other.exec("ROLLBACK");
  other.close();
  await ended;
  const errors = (await Promise.all(under)).filter((error) => error !== null);
  expect(errors.length).toBe(2);
  for (const error of errors) {
    expect(error).toMatchObject({ code: "unavailable", retryable: true, remedy: expect.stringContaining("try again") });
  }
  await storage.apply(objects(value(4)));
  expect(dying?.ended).toBe(true);
  expect(await Promise.all([1, 4].map((name) => has(storage, value(name))))).toEqual([true, true]);
});

test("of a transaction that was stored without an answer, the reply is found", async () => {
  const storage = await openSqlite(join(await temporaryFolder(), "objects.db"));
  await storage.apply(objects(value(1)));
  expect(storage.replyNow?.("id")).toBe(null);
  vi.spyOn(WriterConnection.prototype, "call").mockImplementationOnce(async function (this: WriterConnection, ...call) {
    await this.call(...call);
    throw new VlinderError("unavailable", "the thread ended");
  });
  const reply = { id: "id", request: sha256("asked"), reply: "{}", time: 5 };
  await expect(storage.apply({ objects: [], branches: [], replies: [reply] })).rejects.toThrow("the thread ended");
  expect(storage.replyNow?.("id")).toEqual(reply);
});

test("databases on many threads do not disturb each other", async () => {
  const folder = await temporaryFolder();
  const all = await Promise.all(Array.from({ length: 9 }, (_, index) => openSqlite(join(folder, `${index}.db`))));
  await Promise.all(
    all.flatMap((storage, index) => [1, 2, 3].map((name) => storage.apply(objects(value(`${index} ${name}`))))),
  );
  for (const [index, storage] of all.entries()) {
    expect((await storage.usage()).counts.value).toBe(3);
    expect(await has(storage, value(`${index} 2`))).toBe(true);
  }
  await Promise.all(all.map((storage) => storage.close()));
  expect(writerPool.threads).toEqual([]);
});
