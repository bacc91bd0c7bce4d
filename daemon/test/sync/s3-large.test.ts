import { createHash, randomBytes } from "node:crypto";
import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { errorReply } from "../../../test/harness/s3/s3-reply.ts";
import type { Fault, Route, S3Double } from "../../../test/harness/s3/s3-double.ts";
import { S3Uploads } from "../../../test/harness/s3/s3-uploads.ts";
import type { Bucket } from "../../src/sync/buckets/bucket.ts";
import { partSize } from "../../src/sync/buckets/s3-multipart.ts";
import { tempFolder } from "./machine.ts";
import { bucketOn, pathsIn, startDouble } from "./s3-places.ts";

const MB = 1 << 20;
/** Of a part, and of the smallest that the double takes: but for one test, so that each has a few milliseconds. */
const PART = 64 * 1024;
/** Three parts, the last one smaller than a part may be. */
const LARGE = randomBytes(2 * PART + 1000);

async function fileOf(bytes: Buffer): Promise<string> {
  const path = join(await tempFolder(), "file");
  await writeFile(path, bytes);
  return path;
}

async function place(settings: Partial<S3Double> = {}): Promise<{ double: S3Double; bucket: Bucket; file: string }> {
  const double = await startDouble(settings);
  double.uploads.minimum = PART;
  const bucket = await bucketOn(double, "vault/some/prefix", { create: true, part: PART });
  return { double, bucket, file: await fileOf(LARGE) };
}

const stored = (double: S3Double): Buffer | undefined => double.buckets.get("vault")?.get("some/prefix/a/large");

const isWhole = (bytes: Buffer | null | undefined): boolean => bytes?.equals(LARGE) === true;

describe("a large file of this machine", () => {
  const kinds: Record<string, Partial<S3Double>> = {
    "the ways of Hugging Face's gateway": { base: "/me" },
    "no exclusive create, and says so": { conditional: "unknown" },
    "no exclusive create, and does not say so": { conditional: "ignored" },
    "exclusive create of puts alone": { conditionalUploads: "unknown" },
  };
  for (const [kind, settings] of Object.entries(kinds)) {
    test(`goes in parts, whole, once, and overwrites nothing, on a service with ${kind}`, async () => {
      const { double, bucket, file } = await place(settings);
      await bucket.putFile("a/large", file);
      expect(isWhole(stored(double))).toBe(true);
      expect(double.count("PUT part")).toMatchObject({ requests: 3, up: LARGE.length });
      await bucket.putFile("a/large", file);
      await writeFile(file, Buffer.concat([LARGE.subarray(0, -1), Buffer.from([(LARGE.at(-1) ?? 0) ^ 1])]));
      await expect(bucket.putFile("a/large", file)).rejects.toMatchObject({ code: "conflict" });
      await truncate(file, LARGE.length - 1);
      await expect(bucket.putFile("a/large", file)).rejects.toMatchObject({ code: "conflict" });
      expect(double.count("POST upload").requests).toBe(1);
      expect(isWhole(stored(double))).toBe(true);
      expect(double.uploads.unfinished).toBe(0);
      expect(double.offences).toEqual([]);
    });
  }

  test("that is no larger than two parts goes in one request", async () => {
    const { double, bucket, file } = await place();
    await truncate(file, 2 * PART);
    await bucket.putFile("a/large", file);
    expect(double.count("POST upload").requests).toBe(0);
    expect(stored(double)?.equals(LARGE.subarray(0, 2 * PART))).toBe(true);
  });

  const ROUTES: readonly Route[] = ["POST upload", "PUT part", "POST complete"];
  const internal = errorReply(500, "InternalError", "We encountered an internal error. Please try again.");
  const passing: Record<string, Fault> = {
    "a connection that breaks before": "drop before",
    "a reply that is lost": "drop after",
    "503 SlowDown": errorReply(503, "SlowDown", "Please reduce your request rate."),
    "400 RequestTimeout": errorReply(400, "RequestTimeout", "Your socket connection was not read from"),
    "an error under 200, as a long completion has it": { ...internal, status: 200 },
  };
  for (const [name, fault] of Object.entries(passing)) {
    test(`gets there in spite of ${name}`, async () => {
      for (const faulty of ROUTES) {
        const isBody = typeof fault === "object" && fault.status === 200;
        if (isBody && faulty !== "POST complete") continue;
        const { double, bucket, file } = await place();
        double.fault = ({ n, route }) => (route === faulty && n === 1 ? fault : undefined);
        await bucket.putFile("a/large", file);
        expect(double.fired, faulty).toBe(1);
        expect(isWhole(stored(double)), faulty).toBe(true);
        expect(double.uploads.parts, faulty).toBe(0);
        expect(double.offences).toEqual([]);
      }
    });
  }

  test("leaves no parts when it is refused, at whatever step", async () => {
    for (const faulty of ROUTES) {
      const { double, bucket, file } = await place();
      double.fault = ({ route }) => (route === faulty ? errorReply(403, "AccessDenied", "no") : undefined);
      await expect(bucket.putFile("a/large", file)).rejects.toMatchObject({ code: "denied", remedy: /s3.md/ });
      expect(double.uploads.unfinished, faulty).toBe(0);
      expect(await pathsIn(bucket)).toEqual([]);
    }
  });

  test("leaves no parts when the bucket is closed, which waits for that and not for what hangs", async () => {
    const { double, bucket, file } = await place();
    const { promise: hanging, resolve } = Promise.withResolvers<void>();
    double.fault = ({ route, n }) => {
      if (route !== "PUT part" || n < 2) return undefined;
      resolve();
      return "hang";
    };
    const put = bucket.putFile("a/large", file);
    const refused = expect(put).rejects.toMatchObject({ code: "unavailable", message: /closed/ });
    await hanging;
    expect(double.uploads.unfinished).toBe(1);
    await bucket.close();
    await refused;
    expect(double.uploads.unfinished).toBe(0);
    expect(double.count("DELETE upload").requests).toBe(1);
    await expect(bucket.putFile("a/large", file)).rejects.toMatchObject({ code: "unavailable", message: /closed/ });
  });

  test("begins anew when the service has ended its upload, and not for ever", async () => {
    const { double, bucket, file } = await place();
    double.fault = ({ route, n }) => {
      if (route === "PUT part" && n === 3) double.uploads.expire();
      return undefined;
    };
    await bucket.putFile("a/large", file);
    expect(isWhole(stored(double))).toBe(true);
    expect(double.count("POST upload").requests).toBe(2);
    double.fault = ({ route }) => {
      if (route === "POST complete") double.uploads.expire();
      return undefined;
    };
    await expect(bucket.putFile("a/other", file)).rejects.toMatchObject({ code: "unavailable", retryable: true });
    expect(double.uploads.unfinished).toBe(0);
  });

  test("that somebody else makes meanwhile is his, unless it is the same", async () => {
    for (const [theirs, outcome] of [
      [Buffer.from("x"), "conflict"],
      [LARGE, null],
    ] as const) {
      const { double, bucket, file } = await place();
      double.fault = ({ route }) => {
        if (route === "POST complete") double.buckets.get("vault")?.set("some/prefix/a/large", theirs);
        return undefined;
      };
      const done = await bucket.putFile("a/large", file).catch((error: unknown) => error);
      expect((done as { code?: string } | undefined)?.code ?? null).toBe(outcome);
      expect(stored(double)?.equals(theirs)).toBe(true);
      expect(double.uploads.unfinished).toBe(0);
    }
  });

  test("that becomes shorter meanwhile is not put, and leaves nothing", async () => {
    const { double, bucket, file } = await place();
    double.fault = ({ route }) => {
      if (route === "POST upload") void truncate(file, PART);
      return undefined;
    };
    await expect(bucket.putFile("a/large", file)).rejects.toMatchObject({ message: /shorter/ });
    expect(double.uploads.unfinished).toBe(0);
    expect(await pathsIn(bucket)).toEqual([]);
  });

  test("has parts of 8 MiB, and never more of them than a service takes", () => {
    expect(partSize(20 * MB)).toBe(8 * MB);
    for (const size of [8 * MB * 10_000, 8 * MB * 10_000 + 1, 5e12]) {
      expect(Math.ceil(size / partSize(size))).toBeLessThanOrEqual(10_000);
    }
  });

  test("has two parts in memory, however large it is, and they are as large as a service wants them", async () => {
    const double = await startDouble();
    const bucket = await bucketOn(double);
    const large = Buffer.alloc(40 * MB + 5, "noise");
    await bucket.putFile("a/large", await fileOf(large));
    expect(double.buckets.get("vault")?.get("a/large")?.equals(large)).toBe(true);
    expect(double.count("PUT part").requests).toBe(6);
    expect(double.atOnce).toBeLessThan(16 * MB + 10_000);
  });
});

test("the double takes no upload that S3 would not take", () => {
  const uploads = new S3Uploads();
  const part = (id: string, number: string, bytes: Buffer): unknown =>
    uploads.put("b", "k", new URLSearchParams({ uploadId: id, partNumber: number }), bytes);
  const join = (id: string, parts: readonly (readonly [number, Buffer])[], key = "k"): unknown => {
    const xml = parts.map(([number, bytes]) => {
      const tag = createHash("md5").update(bytes).digest("hex");
      return `<Part><ETag>&quot;${tag}&quot;</ETag><PartNumber>${number}</PartNumber></Part>`;
    });
    const body = `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${xml.join("")}</CompleteMultipartUpload>`;
    const reply = uploads.join("b", key, new URLSearchParams({ uploadId: id }), Buffer.from(body));
    return Buffer.isBuffer(reply) ? reply : /<Code>(\w+)/.exec(String(reply.body))?.[1];
  };
  const id = /<UploadId>([^<]+)/.exec(String(uploads.create("b", "k", Buffer.alloc(0)).body))?.[1] ?? "";
  const [large, small] = [Buffer.alloc(5 * MB, 1), Buffer.from("end")];
  for (const number of ["0", "10001", "x", ""]) expect(part(id, number, small)).toMatchObject({ status: 400 });
  expect(part("none", "1", small)).toMatchObject({ status: 404 });
  part(id, "1", large);
  part(id, "2", small);
  part(id, "3", small);
  expect(join(id, [])).toBe("MalformedXML");
  expect(
    join(id, [
      [2, small],
      [1, large],
    ]),
  ).toBe("InvalidPartOrder");
  expect(join(id, [[1, small]])).toBe("InvalidPart");
  expect(join(id, [[4, small]])).toBe("InvalidPart");
  expect(
    join(id, [
      [2, small],
      [3, small],
    ]),
  ).toBe("EntityTooSmall");
  expect(join(id, [[1, large]], "other")).toBe("NoSuchUpload");
  const whole = join(id, [
    [1, large],
    [3, small],
  ]);
  expect(Buffer.isBuffer(whole) && whole.equals(Buffer.concat([large, small]))).toBe(true);
});
