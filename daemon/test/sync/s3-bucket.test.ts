import { randomBytes, randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { IS_LONG } from "../../../test/harness/long.ts";
import type { S3Double } from "../../../test/harness/s3/s3-double.ts";
import { HAS_SWIFT, type S3Server, startSwift } from "../../../test/harness/s3/swift.ts";
import { BUCKET_CHECKS } from "../../src/sync/buckets/conformance.ts";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { Machine, tempFolder } from "./machine.ts";
import { bucketOn, KEYS, logIn, openBucketOf, pathsIn, startDouble, uriOn } from "./s3-places.ts";

const GATEWAY = "the ways of Hugging Face's gateway";
const KINDS: Readonly<Record<string, Partial<S3Double>>> = {
  [GATEWAY]: { base: "/me" },
  "no exclusive create, and says so": { conditional: "unknown", redirects: false, hasBatchDelete: false },
  "no exclusive create, and does not say so": { conditional: "ignored", redirects: false },
};

/** The others differ from the gateway in these alone. */
const OF_WRITING = /overwritten|one wins|another's|was deleted/;

for (const [kind, settings] of Object.entries(KINDS)) {
  describe(`a bucket of s3:// on a service with ${kind}`, () => {
    const isAll = IS_LONG || kind === GATEWAY;
    for (const { name, run } of BUCKET_CHECKS.filter((check) => isAll || OF_WRITING.test(check.name))) {
      test(name, async () => {
        const double = await startDouble(settings);
        await run(await bucketOn(double, "vault/some/prefix"));
        expect(double.offences).toEqual([]);
      });
    }
  });
}

describe.skipIf(!HAS_SWIFT)("a bucket of s3:// on OpenStack Swift", () => {
  let swift: S3Server;
  let buckets = 0;
  beforeAll(async () => {
    swift = await startSwift();
  });
  afterAll(() => swift.stop());

  function newUri(): string {
    logIn(swift);
    return uriOn(swift.endpoint, `vault${++buckets}/prefix`);
  }

  // Hundreds of requests take it seconds.
  for (const { name, run } of BUCKET_CHECKS.filter((check) => IS_LONG || !/many are/.test(check.name))) {
    test(name, { timeout: 120_000 }, async () => {
      const bucket = await openBucket(newUri(), { create: true });
      onTestFinished(() => bucket.close());
      await run(bucket);
    });
  }

  test("several are deleted in one request, those that are not there, too", async () => {
    const bucket = await openBucket(newUri(), { create: true });
    onTestFinished(() => bucket.close());
    await bucket.put(["a", "b/c", "d"].map((path) => ({ path, bytes: Buffer.from(path) })));
    await bucket.delete(["a", "none", "b/c"]);
    expect(await pathsIn(bucket)).toEqual(["d"]);
  });

  test("a large file of this machine goes there in parts, whole, and once", async () => {
    const uri = newUri();
    const bucket = await openBucket(uri, { create: true });
    onTestFinished(() => bucket.close());
    const large = randomBytes(17 << 20);
    const file = join(await tempFolder(), "file");
    await writeFile(file, large);
    await bucket.putFile("a/large", file);
    expect((await bucket.sizes(["a/large"])).get("a/large")).toBe(large.length);
    const across = { start: (8 << 20) - 5, end: (8 << 20) + 5 };
    expect(await bucket.get("a/large", across)).toEqual(large.subarray(across.start, across.end));
    // Which compares it, byte by byte.
    await bucket.putFile("a/large", file);
    expect(await pathsIn(bucket)).toEqual(["a/large"]);
    await bucket.delete(["a/large"]);
    expect(await pathsIn(bucket)).toEqual([]);
  });

  test("the wrong secret is denied, and says so", async () => {
    const uri = newUri();
    logIn({ ...swift, secretAccessKey: "wrong" });
    await expect(openBucket(uri, { create: true })).rejects.toMatchObject({
      code: "denied",
      details: { code: "SignatureDoesNotMatch" },
      remedy: /secret key/,
    });
  });

  test("a bucket that is not there is unavailable, and init makes it", async () => {
    const uri = newUri();
    const bucket = await openBucket(uri);
    const nowhere = { code: "unavailable", retryable: false, remedy: /vlinder init/ };
    await expect(pathsIn(bucket)).rejects.toMatchObject(nowhere);
    await expect(bucket.get("a")).rejects.toMatchObject(nowhere);
    await expect(bucket.put([{ path: "a", bytes: Buffer.from("x") }])).rejects.toMatchObject(nowhere);
    await openBucket(uri, { create: true });
    await openBucket(uri, { create: true });
    expect(await pathsIn(bucket)).toEqual([]);
  });

  test.runIf(IS_LONG)(
    "over a thousand files are listed in pages and deleted in batches",
    async () => {
      const bucket = await openBucket(newUri(), { create: true });
      const paths = Array.from({ length: 1003 }, (_, i) => `f/${i}`);
      await bucket.put(paths.map((path) => ({ path, bytes: Buffer.from(path) })));
      expect(await pathsIn(bucket)).toEqual(paths.toSorted());
      await bucket.delete(paths);
      expect(await pathsIn(bucket)).toEqual([]);
    },
    120_000,
  );

  test("two machines come together on it", async () => {
    const uri = newUri();
    const [a, b] = [await Machine.start(), await Machine.start()];
    await a.add();
    expect(await a.sync.init(uri)).toMatchObject({ created: true });
    expect(await b.sync.init(uri)).toMatchObject({ created: false });
    a.todo.put("/a", "1");
    await a.syncAll();
    await b.syncAll();
    b.todo.put("/b", "2");
    a.todo.put("/a", "3");
    for (const machine of [a, b, a, b]) await machine.syncAll();
    expect(b.todo.contents()).toEqual({ "/a": "3", "/b": "2" });
    expect(b.todo.head()).toBe(a.todo.head());
  });
});

/** `s3://bucket/prefix?…` of a real service, for runs by hand: docs/s3.md. */
const REAL = process.env["VLINDER_TEST_S3"];

if (REAL !== undefined) {
  describe("a bucket of s3:// on the service that VLINDER_TEST_S3 names", () => {
    for (const { name, run } of BUCKET_CHECKS) {
      test(name, { timeout: 300_000 }, async () => {
        const [place = "", query = ""] = REAL.split("?");
        const bucket = await openBucket(`${place.replace(/\/$/, "")}/${randomUUID()}?${query}`, { create: true });
        onTestFinished(async () => {
          await bucket.delete(await pathsIn(bucket));
          await bucket.close();
        });
        await run(bucket);
      });
    }
  });
}

describe("a bucket of s3://", () => {
  test("sees nothing outside its prefix, and touches nothing there", async () => {
    const double = await startDouble();
    const one = await bucketOn(double, "vault/one");
    const other = await openBucketOf(double, "vault/one-more");
    const whole = await openBucketOf(double, "vault");
    await one.put([{ path: "a", bytes: Buffer.from("1") }]);
    await other.put([{ path: "a", bytes: Buffer.from("2") }]);
    expect(await pathsIn(one)).toEqual(["a"]);
    expect(await pathsIn(whole)).toEqual(["one-more/a", "one/a"]);
    await one.delete(["a", "b"]);
    expect(await pathsIn(whole)).toEqual(["one-more/a"]);
    expect(await one.get("a")).toBeNull();
  });

  test("lists foreign names as they are, and no folder that a console made", async () => {
    const double = await startDouble();
    const bucket = await bucketOn(double, "vault/p");
    const files = double.buckets.get("vault") as Map<string, Buffer>;
    for (const key of ["p/", "p/folder/", "p/a b+c (1).txt", "p/ü\u0001&<"]) files.set(key, Buffer.alloc(0));
    expect(await pathsIn(bucket)).toEqual(["a b+c (1).txt", "ü\u0001&<"]);
  });

  test("leaves out what a service lists that does not keep to the prefix", async () => {
    const double = await startDouble();
    const bucket = await bucketOn(double, "vault/p");
    const keys = ["p/a", "pa", "q/a", "p/b/c"].map((key) => `<Contents><Key>${key}</Key><Size>1</Size></Contents>`);
    const body = `<ListBucketResult><IsTruncated>false</IsTruncated>${keys.join("")}</ListBucketResult>`;
    double.fault = () => ({ status: 200, body });
    expect(await pathsIn(bucket)).toEqual(["a", "b/c"]);
    expect(await pathsIn(bucket, "b")).toEqual(["b/c"]);
  });

  test("the gateway gets each request as it wants it, and where it leads to gets no credentials", async () => {
    const double = await startDouble({ base: "/me" });
    const bucket = await bucketOn(double);
    const large = Buffer.alloc(3_000_000, 7);
    await bucket.put([{ path: "large", bytes: large }]);
    expect((await bucket.get("large"))?.equals(large)).toBe(true);
    expect((await bucket.get("large", { start: 5, end: 9 }))?.length).toBe(4);
    await bucket.delete(["large", "none"]);
    expect(double.count("GET elsewhere")).toMatchObject({ requests: 2, down: 3_000_004 });
    expect(double.count("GET object").down).toBe(0);
    expect(double.offences).toEqual([]);
  });

  test("without an endpoint is at Amazon, whatever the environment says", async () => {
    const double = await startDouble();
    logIn(KEYS);
    vi.stubEnv("AWS_ENDPOINT_URL", double.endpoint);
    vi.stubEnv("AWS_ENDPOINT_URL_S3", double.endpoint);
    vi.stubEnv("AWS_REGION", "us-west-2");
    const asked: string[] = [];
    vi.spyOn(globalThis, "fetch").mockImplementation(async (url) => {
      asked.push(url as string);
      return new Response("<Error><Code>NoSuchKey</Code></Error>", { status: 404 });
    });
    onTestFinished(() => void vi.unstubAllEnvs());
    onTestFinished(() => void vi.restoreAllMocks());
    const bucket = await openBucket("s3://vault/p?region=eu-west-1");
    expect(await bucket.get("a")).toBeNull();
    expect(asked).toEqual(["https://vault.s3.eu-west-1.amazonaws.com/p/a?x-id=GetObject"]);
  });

  test("a service that sends the whole file for a range gives the range", async () => {
    const double = await startDouble({ redirects: false });
    const bucket = await bucketOn(double);
    double.fault = ({ route }) => (route === "GET object" ? { status: 200, body: "0123456789" } : undefined);
    expect(await bucket.get("a", { start: 2, end: 5 })).toEqual(Buffer.from("234"));
  });

  test("an empty range of a file is empty, and of none it is none", async () => {
    const bucket = await bucketOn(await startDouble());
    await bucket.put([{ path: "a", bytes: Buffer.from("x") }]);
    expect(await bucket.get("a", { start: 1, end: 1 })).toEqual(Buffer.alloc(0));
    expect(await bucket.get("b", { start: 1, end: 1 })).toBeNull();
  });
});
