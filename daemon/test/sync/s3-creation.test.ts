import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import type { S3Double } from "../../../test/harness/s3/s3-double.ts";
import { HAS_SWIFT, type S3Server, startSwift } from "../../../test/harness/s3/swift.ts";
import { openS3Bucket } from "../../src/sync/buckets/s3.ts";
import { S3Knowledge } from "../../src/sync/buckets/s3-knowledge.ts";
import { bucketOn, logIn, openBucketOf, pathsIn, startDouble, uriOn } from "./s3-places.ts";

const LARGE = Buffer.alloc(1 << 20, 7);
/** What finding out may cost, in bytes of bodies. */
const LITTLE = 1024;

/** Puts a large file, in a bucket that was just opened, and says what went up. */
async function putAnew(double: S3Double, path: string): Promise<{ requests: number; up: number }> {
  const bucket = await openBucketOf(double, "vault");
  const before = { ...double.count("PUT object") };
  await bucket.put([{ path, bytes: LARGE }]);
  const { requests, up } = double.count("PUT object");
  return { requests: requests - before.requests, up: up - before.up };
}

describe("whether a service of s3:// has exclusive create is found out", () => {
  const requests = { honoured: 3, ignored: 3, unknown: 2 } as const;
  for (const conditional of ["honoured", "unknown", "ignored"] as const) {
    test(`with a few bytes, and once for all openings: ${conditional}`, async () => {
      const double = await startDouble({ conditional });
      const bucket = await bucketOn(double);
      const first = await putAnew(double, "a");
      expect(first.requests).toBe(requests[conditional]);
      expect(first.up).toBeLessThan(LARGE.length + LITTLE);
      expect(await putAnew(double, "b")).toEqual({ requests: 1, up: LARGE.length });
      expect(await pathsIn(bucket)).toEqual(["a", "b"]);
      expect([...(double.buckets.get("vault") as Map<string, Buffer>).keys()]).toEqual(["a", "b"]);
      expect(double.count("HEAD object").requests).toBe(conditional === "honoured" ? 0 : 2);
    });
  }

  test("by one of many that are put at once", async () => {
    const double = await startDouble({ conditional: "unknown" });
    const bucket = await bucketOn(double);
    await Promise.all(["a", "b", "c"].map((path) => bucket.put([{ path, bytes: LARGE }])));
    expect(double.count("PUT object").requests).toBe(4);
  });

  test("anew after it could not be", async () => {
    const double = await startDouble();
    const bucket = await bucketOn(double);
    double.fault = ({ route }) => (route === "PUT object" ? { status: 403 } : undefined);
    await expect(bucket.put([{ path: "a", bytes: LARGE }])).rejects.toMatchObject({ code: "denied" });
    double.fault = () => undefined;
    expect((await putAnew(double, "a")).requests).toBe(3);
  });

  test("also when the reply to the first try is lost", async () => {
    const double = await startDouble();
    const bucket = await bucketOn(double);
    double.fault = ({ route, n }) => (route === "PUT object" && n === 1 ? "drop after" : undefined);
    await bucket.put([{ path: "a", bytes: Buffer.from("1") }]);
    await expect(bucket.put([{ path: "a", bytes: Buffer.from("2") }])).rejects.toMatchObject({ code: "conflict" });
    expect(double.count("HEAD object").requests).toBe(1);
  });

  test("and a file that it could not delete again is shown to nobody", async () => {
    const double = await startDouble();
    const bucket = await bucketOn(double);
    double.fault = ({ route }) => (route === "DELETE object" ? { status: 403 } : undefined);
    await bucket.put([{ path: "a", bytes: Buffer.from("1") }]);
    expect((double.buckets.get("vault") as Map<string, Buffer>).size).toBe(2);
    expect(await pathsIn(bucket)).toEqual(["a"]);
  });

  test("and believed no longer when the service says otherwise: nothing is overwritten then either", async () => {
    const double = await startDouble();
    const bucket = await bucketOn(double);
    await bucket.put([{ path: "a", bytes: Buffer.from("1") }]);
    double.conditional = "unknown";
    await expect(bucket.put([{ path: "a", bytes: Buffer.from("2") }])).rejects.toMatchObject({ code: "conflict" });
    expect(await bucket.get("a")).toEqual(Buffer.from("1"));
    expect(await putAnew(double, "b")).toEqual({ requests: 1, up: LARGE.length });
  });
});

test("what is known of a service holds for a day, for its place alone", async () => {
  let now = 0;
  let asked = 0;
  const knowledge = new S3Knowledge(() => now);
  const find = async (): Promise<boolean> => ++asked > 1;
  expect(await knowledge.isExclusive("one", find)).toBe(false);
  now += 23 * 3_600_000;
  expect(await knowledge.isExclusive("one", find)).toBe(false);
  expect(await knowledge.isExclusive("other", find)).toBe(true);
  now += 2 * 3_600_000;
  expect(await knowledge.isExclusive("one", find)).toBe(true);
  expect(asked).toBe(3);
});

describe.skipIf(!HAS_SWIFT)("on OpenStack Swift", () => {
  let swift: S3Server;
  beforeAll(async () => {
    swift = await startSwift();
  });
  afterAll(() => swift.stop());

  test("a large file is sent once, by the first that opens the bucket and by those after it", async () => {
    logIn(swift);
    const uri = uriOn(swift.endpoint, "vault/prefix");
    await (await openS3Bucket(uri, { create: true })).close();
    const sent: number[] = [];
    const { fetch } = globalThis;
    vi.spyOn(globalThis, "fetch").mockImplementation((input, init) => {
      if (init?.method === "PUT") sent.push((init.body as Uint8Array).length);
      return fetch(input, init);
    });
    onTestFinished(() => void vi.restoreAllMocks());
    for (const path of ["a", "b"]) {
      const bucket = await openS3Bucket(uri);
      await bucket.put([{ path, bytes: LARGE }]);
      expect((await bucket.get(path))?.equals(LARGE)).toBe(true);
      await bucket.close();
    }
    expect(sent.filter((bytes) => bytes > LITTLE)).toEqual([LARGE.length, LARGE.length]);
    expect(sent).toHaveLength(3);
  });
});
