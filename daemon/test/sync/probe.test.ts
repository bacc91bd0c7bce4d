import { mkdir, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { VlinderError } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import type { Bucket, BucketEntry } from "../../src/sync/buckets/bucket.ts";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { probeBucket } from "../../src/sync/probe.ts";
import { FaultyBucket, type Outcome } from "./faulty-bucket.ts";
import { Machine, tempBucket, tempFolder, TODO } from "./machine.ts";

const STEPS = ["write", "look", "list", "read", "read part", "delete", "gone"];

async function filesIn(uri: string): Promise<string[]> {
  const all = await readdir(fileURLToPath(uri), { recursive: true });
  return all.filter((name) => !name.startsWith(".tmp"));
}

/** A machine whose bucket does as it is told with each kind of call. */
async function faulty(outcomes: Readonly<Record<string, Outcome>>): Promise<{ machine: Machine; uri: string }> {
  const [machine, uri] = [await Machine.start(), await tempBucket()];
  machine.wrap = (bucket) => new FaultyBucket(bucket, ({ method }) => outcomes[method] ?? "fine");
  return { machine, uri };
}

describe("init tries a bucket", () => {
  test("tells what was tried, and leaves nothing but the vault", async () => {
    const [machine, uri] = [await Machine.start(), await tempBucket()];
    const { probe } = await machine.sync.init(uri);
    expect(probe.map(({ step }) => step)).toEqual(STEPS);
    for (const { milliseconds } of probe) expect(milliseconds).toBeGreaterThanOrEqual(0);
    expect(await filesIn(uri)).toEqual(["vault.json"]);
  });

  test.each([
    ["put", "write", "to write files"],
    ["sizes", "look", "to read files' sizes"],
    ["list", "list", "to list files"],
    ["delete", "delete", "to delete files"],
  ])("without the right to %s says so, and is not used", async (method, step, right) => {
    const { machine, uri } = await faulty({ [method]: "refuse" });
    const error: unknown = await machine.sync.init(uri).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(VlinderError);
    const { code, message, details, remedy } = error as VlinderError;
    expect({ code, step: details["step"], right: details["right"] }).toEqual({ code: "denied", step, right });
    expect(message).toContain(`the right ${right} is missing there`);
    expect(remedy).toContain("run vlinder init again");
    expect(machine.sync.bucket).toBeNull();
    const left = details["left"];
    // Where nothing may be deleted, the trial's file stays, and it is said which.
    if (method === "delete") expect(remedy).toContain(`${String(left)} may still be there`);
    else expect(left).toBeNull();
    expect(await filesIn(uri)).toEqual(typeof left === "string" ? [left] : []);
  });

  test("without the right to read: the vault can't be, so nothing is written", async () => {
    const { machine, uri } = await faulty({ get: "refuse" });
    await expect(machine.sync.init(uri)).rejects.toMatchObject({ code: "denied" });
    expect(await filesIn(uri)).toEqual([]);
  });

  test("a write whose reply was lost is taken away again", async () => {
    const { machine, uri } = await faulty({ put: "fail after" });
    const wanted = { code: "unavailable", details: { step: "write", left: null } };
    await expect(machine.sync.init(uri)).rejects.toMatchObject(wanted);
    expect(await filesIn(uri)).toEqual([]);
  });

  test("a listing that lags is waited for, and one that never shows a file is refused", async () => {
    const bucket = await openBucket(await tempBucket(), { create: true });
    let lists = 0;
    const lagging = (from: number): Bucket =>
      Object.assign(Object.create(bucket) as Bucket, {
        uri: bucket.uri,
        put: bucket.put.bind(bucket),
        get: bucket.get.bind(bucket),
        sizes: bucket.sizes.bind(bucket),
        delete: bucket.delete.bind(bucket),
        async *list(prefix: string): AsyncIterable<BucketEntry> {
          if (++lists >= from) yield* bucket.list(prefix);
        },
      });
    expect((await probeBucket(lagging(3), [0, 0])).map(({ step }) => step)).toEqual(STEPS);
    expect(lists).toBe(3);
    lists = 0;
    await expect(probeBucket(lagging(9), [0, 0])).rejects.toMatchObject({ details: { step: "list", left: null } });
  });

  test("names files that are not ours and leaves them alone; does not write to another's vault", async () => {
    const [a, b, uri] = [await Machine.start(), await Machine.start(), await tempBucket()];
    const folder = fileURLToPath(uri);
    await mkdir(join(folder, "photos"), { recursive: true });
    await writeFile(join(folder, "photos", "cat.jpg"), "meow");
    const { created, notes } = await a.sync.init(uri);
    expect(created).toBe(true);
    expect(notes).toEqual([expect.stringContaining("photos/cat.jpg")]);
    expect((await filesIn(uri)).toSorted()).toEqual(["photos", "photos/cat.jpg", "vault.json"]);
    await b.sync.init(await tempBucket());
    const asked: string[] = [];
    b.wrap = (bucket) => new FaultyBucket(bucket, ({ method }) => (asked.push(method), "fine"));
    await expect(b.sync.init(uri)).rejects.toMatchObject({ code: "denied" });
    expect(asked).toEqual(["get"]);
  });

  test("a vault.json that is damaged is said with its bucket; moved away, the home writes it again and calls nothing of its own foreign", async () => {
    const [machine, uri] = [await Machine.start(), await tempBucket()];
    const { vault } = await machine.sync.init(uri);
    await machine.add(TODO);
    machine.todo.put("/a", "1");
    await machine.push();
    const file = join(fileURLToPath(uri), "vault.json");
    await writeFile(file, '{ "id": 1 }');
    await expect(machine.sync.init(uri)).rejects.toMatchObject({
      code: "invalid",
      message: expect.stringContaining(`the bucket ${uri} has no good vault.json`),
      remedy: expect.stringContaining("move it away"),
    });
    await rm(file);
    expect(await machine.sync.init(uri)).toMatchObject({ vault, created: true, notes: [] });
  });

  test("a folder that is the home, in it or around it is refused, also through a link", async () => {
    const machine = await Machine.start();
    const link = join(await tempFolder(), "link");
    await symlink(machine.home, link);
    for (const folder of [
      machine.home,
      join(machine.home, "agents", "x"),
      join(machine.home, ".."),
      join(link, "bucket"),
    ]) {
      await expect(machine.sync.init(pathToFileURL(folder).href), folder).rejects.toMatchObject({
        code: "invalid",
        remedy: expect.stringContaining("outside of the home"),
      });
    }
    expect(machine.sync.bucket).toBeNull();
    const beside = pathToFileURL(`${machine.home}-bucket`).href;
    expect(await machine.sync.init(beside)).toMatchObject({ created: true });
    await rm(`${machine.home}-bucket`, { recursive: true });
  });

  test("join takes a vault that is there, and writes nothing", async () => {
    const [a, b, uri] = [await Machine.start(), await Machine.start(), await tempBucket()];
    await expect(b.sync.init(uri, { join: true })).rejects.toMatchObject({ code: "unavailable" });
    const { vault } = await a.sync.init(uri);
    b.wrap = (bucket) => new FaultyBucket(bucket, ({ method }) => (method === "get" ? "fine" : "refuse"));
    expect(await b.sync.init(uri, { join: true })).toMatchObject({ vault, created: false, probe: [], notes: [] });
    const empty = await tempBucket();
    await mkdir(fileURLToPath(empty));
    await expect(b.sync.init(empty, { join: true })).rejects.toMatchObject({ code: "not_found" });
    expect(b.sync.bucket).toBe(uri);
  });
});
