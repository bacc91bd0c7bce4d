import { chmod, mkdir, readdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { BUCKET_CHECKS } from "../../src/sync/buckets/conformance.ts";
import type { Bucket } from "../../src/sync/buckets/bucket.ts";
import { openFileBucket } from "../../src/sync/buckets/file.ts";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { tempBucket, tempFolder } from "./machine.ts";

async function noLinks(): Promise<void> {
  throw Object.assign(new Error("no hard links here"), { code: "EPERM" });
}

const kinds: Record<string, () => Promise<Bucket>> = {
  "file://": async () => openBucket(await tempBucket(), { create: true }),
  "file:// without hard links": async () => openFileBucket("file:///test", await tempFolder(), { link: noLinks }),
};

for (const [kind, make] of Object.entries(kinds)) {
  describe(`a bucket of ${kind}`, () => {
    for (const { name, run } of BUCKET_CHECKS) test(name, async () => run(await make()));
  });
}

async function fileBucket(): Promise<{ bucket: Bucket; folder: string; uri: string }> {
  const folder = join(await tempFolder(), "vault");
  const uri = pathToFileURL(folder).href;
  return { bucket: await openBucket(uri, { create: true }), folder, uri };
}

async function list(bucket: Bucket, prefix = ""): Promise<string[]> {
  const paths: string[] = [];
  for await (const { path } of bucket.list(prefix)) paths.push(path);
  return paths.toSorted();
}

describe("a folder as a bucket", () => {
  test("a large file may be read by whom this process lets read what it makes, whatever its source allows", async () => {
    const { bucket, folder } = await fileBucket();
    const source = join(await tempFolder(), "source");
    await writeFile(source, "all of the memory");
    const before = process.umask(0o077);
    onTestFinished(() => void process.umask(before));
    for (const [mode, umask, wanted] of [
      [0o644, 0o077, 0o600],
      [0o400, 0o027, 0o640],
    ] as const) {
      await chmod(source, mode);
      process.umask(umask);
      await bucket.putFile(`large-${mode}`, source);
      expect((await stat(join(folder, `large-${mode}`))).mode & 0o777).toBe(wanted);
    }
  });

  test("leaves no temp file, and lists none that another writer has", async () => {
    const { bucket, folder } = await fileBucket();
    await bucket.put([{ path: "a/b", bytes: Buffer.from("x") }]);
    expect(await readdir(join(folder, ".tmp"))).toEqual([]);
    await writeFile(join(folder, ".tmp", "half"), "half");
    await writeFile(join(folder, "a", ".hidden"), "x");
    expect(await list(bucket)).toEqual(["a/b"]);
    expect(await readdir(folder)).toEqual([".tmp", "a"]);
  });

  test("removes a day-old temp file, and no younger one", async () => {
    const { bucket, folder, uri } = await fileBucket();
    await bucket.put([{ path: "a", bytes: Buffer.from("x") }]);
    await writeFile(join(folder, ".tmp", "old"), "x");
    await writeFile(join(folder, ".tmp", "young"), "x");
    const old = new Date(Date.now() - 25 * 3600_000);
    await utimes(join(folder, ".tmp", "old"), old, old);
    await openBucket(uri);
    expect(await readdir(join(folder, ".tmp"))).toEqual(["young"]);
  });

  test("a folder that is not there is unavailable, and is not made", async () => {
    const { folder, uri } = await fileBucket();
    await rm(folder, { recursive: true });
    await expect(openBucket(uri)).rejects.toMatchObject({ code: "unavailable", remedy: /mount/ });
    await expect(readdir(folder)).rejects.toThrow("ENOENT");
  });

  test("init makes the folder, but not the drive under it", async () => {
    const folder = await tempFolder();
    const uri = pathToFileURL(join(folder, "usb", "vault")).href;
    await expect(openBucket(uri, { create: true })).rejects.toMatchObject({ code: "unavailable" });
    expect(await readdir(folder)).toEqual([]);
  });

  test("a folder that vanishes while it is open is unavailable, also when an empty one takes its place", async () => {
    const { bucket, folder } = await fileBucket();
    await bucket.put([{ path: "a", bytes: Buffer.from("x") }]);
    await rename(folder, `${folder}-away`);
    const unavailable = { code: "unavailable", retryable: true };
    await expect(bucket.get("a")).rejects.toMatchObject(unavailable);
    await expect(bucket.put([{ path: "b/c", bytes: Buffer.from("x") }])).rejects.toMatchObject(unavailable);
    await expect(list(bucket)).rejects.toMatchObject(unavailable);
    await mkdir(folder);
    await expect(bucket.get("a")).rejects.toMatchObject(unavailable);
    await expect(bucket.put([{ path: "b/c", bytes: Buffer.from("x") }])).rejects.toMatchObject(unavailable);
    expect(await readdir(folder)).toEqual([]);
  });

  test("a symbolic link is not followed, not listed, and nothing is written through it", async () => {
    const { bucket, folder } = await fileBucket();
    const outside = await tempFolder();
    await writeFile(join(outside, "secret"), "secret");
    await symlink(outside, join(folder, "out"));
    await symlink(join(outside, "secret"), join(folder, "file"));
    await symlink(join(outside, "new"), join(folder, "dangling"));
    await expect(bucket.get("out/secret")).rejects.toMatchObject({ code: "denied" });
    await expect(bucket.put([{ path: "out/new", bytes: Buffer.from("x") }])).rejects.toMatchObject({ code: "denied" });
    await expect(bucket.delete(["out/secret"])).rejects.toMatchObject({ code: "denied" });
    await expect(bucket.get("file")).rejects.toMatchObject({ code: "denied" });
    await expect(bucket.put([{ path: "file", bytes: Buffer.from("secret") }])).rejects.toMatchObject({
      code: "denied",
    });
    await expect(bucket.put([{ path: "dangling", bytes: Buffer.from("x") }])).rejects.toMatchObject({ code: "denied" });
    expect(await list(bucket)).toEqual([]);
    expect(await readdir(outside)).toEqual(["secret"]);
    expect(await readFile(join(outside, "secret"), "utf8")).toBe("secret");
  });

  test("a foreign name is listed, so that it can be said", async () => {
    const { bucket, folder } = await fileBucket();
    await writeFile(join(folder, "a b (1).pack"), "x");
    expect(await list(bucket)).toEqual(["a b (1).pack"]);
    await expect(bucket.get("a b (1).pack")).rejects.toMatchObject({ code: "invalid" });
  });
});

describe("the URI of a bucket", () => {
  test("of a kind that there is not is invalid, and says which there are", async () => {
    const none = { code: "invalid", remedy: /file:.*hf:.*s3:/ };
    await expect(openBucket("gs://bucket/x")).rejects.toMatchObject(none);
    await expect(openBucket("bucket")).rejects.toMatchObject(none);
  });

  test("with a control character is invalid, and makes no folder under a shorter name", async () => {
    const uri = await tempBucket();
    const near = `${uri}-near`;
    await expect(openBucket(`${near}\0`, { create: true })).rejects.toMatchObject({ code: "invalid" });
    await expect(openBucket(near)).rejects.toMatchObject({ code: "unavailable" });
  });

  test("of no kind is invalid", async () => {
    for (const uri of [
      "",
      "/mnt/x",
      "file:/x",
      "file://host/x",
      "file:///x?a=b",
      "ftp://x/",
      "file:///%2e%2fx#",
      "file:///a%2fb",
      "hf://me/vault",
      "hf://buckets/me",
      "hf://buckets/me/vault/../x",
      "hf://buckets/me/vault//x",
      "hf://buckets/me/va ult",
      "hf://buckets/../vault",
      "hf://buckets/me/vault?x=1",
      "hf://user@buckets/me/vault",
    ]) {
      await expect(openBucket(uri), uri).rejects.toMatchObject({ code: "invalid" });
    }
  });
});
