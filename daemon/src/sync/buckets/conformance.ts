import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VlinderError } from "@vlinder/protocol";
import type { Bucket, BucketFile } from "./bucket.ts";

export interface BucketCheck {
  readonly name: string;
  /** Runs on an empty bucket. */
  readonly run: (bucket: Bucket) => Promise<void>;
}

const bytes = (text: string): Buffer => Buffer.from(text);

const file = (path: string, content: Buffer): BucketFile => ({ path, bytes: content });

async function paths(bucket: Bucket, prefix: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { path } of bucket.list(prefix)) found.push(path);
  return found.toSorted();
}

function coded(...codes: string[]): (error: unknown) => boolean {
  return (error) => error instanceof VlinderError && codes.includes(error.code);
}

const BAD_PATHS = ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/.b", "a b", "a\\b", "ä", "a\0b", "a:b", "%2e"];

/** What every kind of bucket must do; run each check on a bucket of its own. */
export const BUCKET_CHECKS: readonly BucketCheck[] = [
  {
    name: "what was put is got, whole and in ranges",
    async run(bucket) {
      await bucket.put([file("a/b/c.bin", bytes("0123456789"))]);
      assert.deepEqual(await bucket.get("a/b/c.bin"), bytes("0123456789"));
      assert.deepEqual(await bucket.get("a/b/c.bin", { start: 2, end: 5 }), bytes("234"));
      assert.deepEqual(await bucket.get("a/b/c.bin", { start: 8, end: 99 }), bytes("89"));
      assert.deepEqual(await bucket.get("a/b/c.bin", { start: 10, end: 12 }), bytes(""));
    },
  },
  {
    name: "what is missing is null, and deleting it is no error",
    async run(bucket) {
      assert.equal(await bucket.get("a"), null);
      assert.equal(await bucket.get("a/b/c"), null);
      await bucket.delete(["a"]);
      await bucket.delete(["a/b/c"]);
      assert.deepEqual(await paths(bucket, ""), []);
      assert.deepEqual(await paths(bucket, "a/"), []);
    },
  },
  {
    name: "an empty file is a file",
    async run(bucket) {
      await bucket.put([file("empty", bytes(""))]);
      assert.deepEqual(await bucket.get("empty"), bytes(""));
    },
  },
  {
    name: "a file of this machine is put as it is, and overwrites nothing",
    async run(bucket) {
      const folder = await mkdtemp(join(tmpdir(), "vlinder-bucket-"));
      try {
        const [one, other] = [join(folder, "one"), join(folder, "other")];
        await writeFile(one, "0123456789");
        await writeFile(other, "012345678X");
        await bucket.putFile("a/b", one);
        await bucket.putFile("a/b", one);
        await assert.rejects(bucket.putFile("a/b", other), coded("conflict"));
        assert.deepEqual(await bucket.get("a/b"), bytes("0123456789"));
        assert.deepEqual(await paths(bucket, ""), ["a/b"]);
        await assert.rejects(bucket.putFile("../a", one), coded("invalid"));
      } finally {
        await rm(folder, { recursive: true });
      }
    },
  },
  {
    name: "nothing is overwritten",
    async run(bucket) {
      await bucket.put([file("a", bytes("one"))]);
      await bucket.put([file("a", bytes("one"))]);
      await assert.rejects(bucket.put([file("a", bytes("two"))]), coded("conflict"));
      await assert.rejects(bucket.put([file("a", bytes(""))]), coded("conflict"));
      assert.deepEqual(await bucket.get("a"), bytes("one"));
    },
  },
  {
    name: "of many that put at once, one wins and the others are told",
    async run(bucket) {
      const puts = Array.from({ length: 8 }, (_, i) => bucket.put([file("race/x", bytes(`writer ${i}`))]));
      const results = await Promise.allSettled(puts);
      assert.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
      const winner = results.findIndex(({ status }) => status === "fulfilled");
      assert.deepEqual(await bucket.get("race/x"), bytes(`writer ${winner}`));
      await Promise.all(Array.from({ length: 8 }, () => bucket.put([file("race/same", bytes("same"))])));
    },
  },
  {
    name: "lists by prefix, with sizes",
    async run(bucket) {
      for (const path of ["p/a", "p/ab/c", "p/b", "q/a", "pp"]) await bucket.put([file(path, bytes(path))]);
      assert.deepEqual(await paths(bucket, ""), ["p/a", "p/ab/c", "p/b", "pp", "q/a"]);
      assert.deepEqual(await paths(bucket, "p/"), ["p/a", "p/ab/c", "p/b"]);
      assert.deepEqual(await paths(bucket, "p/a"), ["p/a", "p/ab/c"]);
      assert.deepEqual(await paths(bucket, "p"), ["p/a", "p/ab/c", "p/b", "pp"]);
      for await (const { path, size } of bucket.list("")) assert.equal(size, path.length);
    },
  },
  {
    name: "sizes are of those that are there",
    async run(bucket) {
      await bucket.put([file("s/a", bytes("1")), file("s/b", bytes("22")), file("s/c", bytes(""))]);
      const sizes = await bucket.sizes(["s/a", "s/c", "s/none", "s", "t/none"]);
      assert.deepEqual(Object.fromEntries(sizes), { "s/a": 1, "s/c": 0 });
      assert.equal((await bucket.sizes([])).size, 0);
    },
  },
  {
    name: "many are put and deleted at once, and nothing at once is nothing",
    async run(bucket) {
      const files = Array.from({ length: 130 }, (_, i) => file(`many/${i % 7}/${i}`, bytes(`content ${i}`)));
      await bucket.put(files);
      await bucket.put(files);
      await bucket.put([]);
      assert.deepEqual(await paths(bucket, "many/"), files.map(({ path }) => path).toSorted());
      assert.deepEqual(await bucket.get("many/3/129"), bytes("content 129"));
      await bucket.delete(files.slice(1).map(({ path }) => path));
      await bucket.delete([]);
      assert.deepEqual(await paths(bucket, "many/"), ["many/0/0"]);
    },
  },
  {
    name: "of several, one that is another's is told, and stays as it is",
    async run(bucket) {
      await bucket.put([file("c/2", bytes("two"))]);
      const files = ["c/1", "c/2", "c/3"].map((path) => file(path, bytes("mine")));
      await assert.rejects(bucket.put(files), coded("conflict"));
      assert.deepEqual(await bucket.get("c/2"), bytes("two"));
    },
  },
  {
    name: "a bad path among good ones is refused before anything is touched",
    async run(bucket) {
      await assert.rejects(bucket.put([file("good", bytes("x")), file("../bad", bytes("x"))]), coded("invalid"));
      await assert.rejects(bucket.sizes(["good", "/bad"]), coded("invalid"));
      await assert.rejects(bucket.delete(["good", "bad/"]), coded("invalid"));
      assert.deepEqual(await paths(bucket, ""), []);
    },
  },
  {
    name: "a revision, where there is one, changes with every change and with nothing else",
    async run(bucket) {
      const first = await bucket.revision();
      if (first === null) return;
      assert.equal(await bucket.revision(), first);
      await bucket.put([file("r/a", bytes("x"))]);
      const second = await bucket.revision();
      assert.notEqual(second, first);
      await bucket.get("r/a");
      assert.equal(await bucket.revision(), second);
      await bucket.delete(["r/a"]);
      assert.notEqual(await bucket.revision(), second);
    },
  },
  {
    name: "what was deleted is gone and may be put again",
    async run(bucket) {
      await bucket.put([file("a/x", bytes("1"))]);
      await bucket.delete(["a/x"]);
      assert.equal(await bucket.get("a/x"), null);
      assert.deepEqual(await paths(bucket, ""), []);
      await bucket.put([file("a/x", bytes("2"))]);
      assert.deepEqual(await bucket.get("a/x"), bytes("2"));
    },
  },
  {
    name: "paths that are none are refused by every method",
    async run(bucket) {
      for (const path of BAD_PATHS) {
        await assert.rejects(bucket.put([file(path, bytes("x"))]), coded("invalid"), path);
        await assert.rejects(bucket.get(path), coded("invalid"), path);
        await assert.rejects(bucket.delete([path]), coded("invalid"), path);
      }
      await assert.rejects(paths(bucket, "../"), coded("invalid"));
      await assert.rejects(paths(bucket, "/"), coded("invalid"));
      assert.deepEqual(await paths(bucket, ""), []);
    },
  },
  {
    name: "a few megabytes come back as they were",
    async run(bucket) {
      const large = Buffer.alloc(5 << 20, 0);
      for (let i = 0; i < large.length; i += 4) large.writeUInt32LE((i * 2654435761) >>> 0, i);
      await bucket.put([file("large.pack", large)]);
      assert.ok(large.equals((await bucket.get("large.pack")) as Buffer));
      const part = await bucket.get("large.pack", { start: 1_000_001, end: 1_000_101 });
      assert.deepEqual(part, large.subarray(1_000_001, 1_000_101));
    },
  },
];
