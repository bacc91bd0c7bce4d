import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { Asked, Fault, Route, S3Double } from "../../../test/harness/s3/s3-double.ts";
import { errorReply } from "../../../test/harness/s3/s3-reply.ts";
import type { Bucket } from "../../src/sync/buckets/bucket.ts";
import { bucketOn, KEYS, logIn, openBucketOf, pathsIn, QUICK, startDouble, uriOn } from "./s3-places.ts";
import { openS3Bucket } from "../../src/sync/buckets/s3.ts";

const x = (path: string): { path: string; bytes: Buffer } => ({ path, bytes: Buffer.from("x") });

/** The fault at the first request of each route; of an answer that has no body (HEAD) the code is not known. */
const once =
  (fault: Fault) =>
  ({ n, route }: Asked) =>
    n === 1 && !(route === "HEAD object" && typeof fault === "object" && fault.status < 429) ? fault : undefined;
const always = (route: Route, fault: Fault) => (asked: Asked) => (asked.route === route ? fault : undefined);

async function place(settings: Partial<S3Double> = {}): Promise<{ double: S3Double; bucket: Bucket }> {
  const double = await startDouble(settings);
  return { double, bucket: await bucketOn(double) };
}

/** Everything that a bucket does, once. */
async function useAll(bucket: Bucket, large: Buffer): Promise<void> {
  await bucket.put([x("a"), x("b"), { path: "large", bytes: large }]);
  expect([...(await bucket.sizes(["a", "none"]))]).toEqual([["a", 1]]);
  expect((await bucket.get("large"))?.equals(large)).toBe(true);
  expect(await pathsIn(bucket)).toEqual(["a", "b", "large"]);
  await bucket.delete(["a", "b"]);
  await bucket.delete(["large"]);
  expect(await pathsIn(bucket)).toEqual([]);
}

describe("what passes is tried again:", () => {
  const faults: Readonly<Record<string, Fault>> = {
    "a connection that breaks before": "drop before",
    "a reply that is lost": "drop after",
    "a body that breaks off": "truncate",
    "503 SlowDown": errorReply(503, "SlowDown", "Please reduce your request rate."),
    "429 that says when": { ...errorReply(429, "TooManyRequests", "later"), headers: { "retry-after": "0" } },
    "500": errorReply(500, "InternalError", "We encountered an internal error. Please try again."),
    "502 of a proxy, in HTML": { status: 502, body: "<html>Bad gateway</html>" },
    "400 RequestTimeout": errorReply(400, "RequestTimeout", "Your socket connection to the server was not read from"),
    "409 of two at once": errorReply(409, "ConditionalRequestConflict", "Two at once"),
  };
  for (const [name, fault] of Object.entries(faults)) {
    test(name, async () => {
      const { double, bucket } = await place();
      double.counts.clear();
      double.fault = once(fault);
      await useAll(bucket, Buffer.alloc(2 << 20, 5));
      expect(double.fired).toBeGreaterThanOrEqual(6);
      expect(double.offences).toEqual([]);
    });
  }

  test("a silent server, within bounds", async () => {
    const double = await startDouble();
    logIn(KEYS);
    const bucket = await openBucketOf(double, "vault", { create: true, limits: { ...QUICK, reply: 150, idle: 150 } });
    double.fault = ({ route, n }) => (route === "LIST" && n === 2 ? "hang" : undefined);
    expect(await pathsIn(bucket)).toEqual([]);
    expect(double.fired).toBe(1);
    double.fault = always("LIST", "hang");
    await expect(pathsIn(bucket)).rejects.toMatchObject({ code: "unavailable", retryable: true });
  });

  test("and given up after a while, with what the service said of when", async () => {
    const { double, bucket } = await place();
    const slow = errorReply(503, "SlowDown", "Please reduce your request rate.");
    double.fault = always("LIST", { ...slow, headers: { ...slow.headers, "retry-after": "3600" } });
    double.counts.clear();
    await expect(pathsIn(bucket)).rejects.toMatchObject({
      code: "unavailable",
      retryable: true,
      details: { code: "SlowDown", retryAfter: 3_600_000 },
    });
    expect(double.count("LIST").requests).toBe(1);
  });

  test("a link of the gateway that has run out: a new one is asked for", async () => {
    const { double, bucket } = await place();
    await bucket.put([x("a")]);
    double.counts.clear();
    double.fault = ({ route, n }) =>
      route === "GET elsewhere" && n === 1 ? errorReply(403, "AccessDenied", "Request has expired") : undefined;
    expect(await bucket.get("a")).toEqual(Buffer.from("x"));
    expect(double.count("GET object").requests).toBe(2);
    double.fault = always("GET elsewhere", errorReply(403, "AccessDenied", "Request has expired"));
    await expect(bucket.get("a")).rejects.toMatchObject({ code: "unavailable", retryable: true });
  });

  test("a machine whose clock is wrong: it goes by the service's", async () => {
    const double = await startDouble({ clock: 3_600_000 });
    const bucket = await bucketOn(double);
    await bucket.put([x("a")]);
    expect(await pathsIn(bucket)).toEqual(["a"]);
  });
});

describe("what does not pass is told at once, with what to do:", () => {
  const told: readonly [string, Fault, object][] = [
    ["403 AccessDenied", errorReply(403, "AccessDenied", "Access Denied"), { code: "denied", remedy: /docs\/s3.md/ }],
    ["InvalidAccessKeyId", errorReply(403, "InvalidAccessKeyId", "no"), { code: "denied", remedy: /access key/ }],
    ["SignatureDoesNotMatch", errorReply(403, "SignatureDoesNotMatch", "no"), { code: "denied", remedy: /secret key/ }],
    ["400 ExpiredToken", errorReply(400, "ExpiredToken", "no"), { code: "denied", remedy: /expired/ }],
    ["RequestTimeTooSkewed", errorReply(403, "RequestTimeTooSkewed", "no"), { code: "denied", remedy: /clock/ }],
    [
      "a code that nobody knows",
      errorReply(418, "Teapot", "short and stout"),
      { code: "unavailable", retryable: false, message: /short and stout/ },
    ],
    ["quota", errorReply(507, "QuotaExceeded", "full"), { code: "unavailable", retryable: false, remedy: /free/ }],
    [
      "a page that is no list",
      { status: 200, body: "<html><body>Log in to the Wi-Fi</body></html>" },
      { code: "unavailable", retryable: false, remedy: /endpoint/ },
    ],
    [
      "another region, by redirect",
      { ...errorReply(301, "PermanentRedirect", "elsewhere"), headers: { "x-amz-bucket-region": "eu-north-1" } },
      { code: "unavailable", retryable: false, remedy: /region=eu-north-1/, details: { region: "eu-north-1" } },
    ],
    [
      "a list that does not go on",
      { status: 200, body: "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>" },
      { code: "unavailable", retryable: false },
    ],
  ];
  for (const [name, fault, expected] of told) {
    test(name, async () => {
      const { double, bucket } = await place();
      double.fault = always("LIST", fault);
      double.counts.clear();
      const { message, remedy, ...rest } = expected as { message?: RegExp; remedy?: RegExp };
      await expect(pathsIn(bucket)).rejects.toMatchObject({
        ...rest,
        ...(message === undefined ? {} : { message: expect.stringMatching(message) as string }),
        ...(remedy === undefined ? {} : { remedy: expect.stringMatching(remedy) as string }),
      });
      expect(double.count("LIST").requests).toBeLessThanOrEqual(2);
    });
  }

  test("another region, by signature", async () => {
    const double = await startDouble({ region: "eu-west-3" });
    await expect(bucketOn(double)).rejects.toMatchObject({ retryable: false, remedy: /region=eu-west-3/ });
  });

  test("files that a delete of many left there", async () => {
    const { double, bucket } = await place();
    const body =
      "<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>";
    double.fault = always("DELETE many", { status: 200, body });
    await expect(bucket.delete(["a", "b"])).rejects.toMatchObject({ code: "denied", message: /deleting a / });
  });

  test("no server", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    logIn(KEYS);
    const bucket = await openS3Bucket(uriOn(`http://127.0.0.1:${port}`, "vault"), { limits: QUICK });
    await expect(bucket.get("a")).rejects.toMatchObject({
      code: "unavailable",
      retryable: true,
      details: { code: "ECONNREFUSED" },
    });
  });

  test("a redirect to what is no web address, or from TLS to none, and it is not followed", async () => {
    logIn(KEYS);
    for (const location of ["http://elsewhere.test/x", "file:///etc/passwd", "ftp://elsewhere.test/x", "http://"]) {
      const asked: string[] = [];
      const redirecting = vi.spyOn(globalThis, "fetch").mockImplementation(async (url) => {
        asked.push(new URL(url as string).origin);
        return new Response(null, { status: 302, headers: { location } });
      });
      const bucket = await openS3Bucket("s3://vault", { limits: QUICK });
      const refused = { code: "unavailable", message: expect.stringMatching(/redirect that leads nowhere/) as string };
      await expect(bucket.get("a").finally(() => redirecting.mockRestore())).rejects.toMatchObject(refused);
      expect(new Set(asked)).toEqual(new Set(["https://vault.s3.us-east-1.amazonaws.com"]));
    }
  });
});

test("a lost reply of a put is no conflict, and another's file is one, whatever is lost", async () => {
  const { double, bucket } = await place();
  await bucket.put([x("first")]);
  double.fault = ({ route, key }) =>
    route === "PUT object" && !double.buckets.get("vault")?.has(key) ? "drop after" : undefined;
  await bucket.put([x("a"), x("b")]);
  expect(double.fired).toBe(2);
  double.buckets.get("vault")?.set("c", Buffer.from("y"));
  await expect(bucket.put([x("c")])).rejects.toMatchObject({ code: "conflict", details: { path: "c" } });
});

test("a list that lags shows what it has", async () => {
  const { double, bucket } = await place();
  await bucket.put([x("a")]);
  double.listed = new Map(double.buckets.get("vault"));
  await bucket.put([x("b")]);
  expect(await pathsIn(bucket)).toEqual(["a"]);
  expect(await bucket.get("b")).toEqual(Buffer.from("x"));
  expect([...(await bucket.sizes(["a", "b"])).keys()].toSorted()).toEqual(["a", "b"]);
});

test("closing ends what is under way, at once and for good", async () => {
  const { double, bucket } = await place();
  double.fault = () => "hang";
  const get = bucket.get("a");
  const list = pathsIn(bucket);
  const both = Promise.allSettled([get, list]);
  await sleep(50);
  await bucket.close();
  for (const { status } of await both) expect(status).toBe("rejected");
  await expect(get).rejects.toMatchObject({ code: "unavailable", message: /closed/ });
  await expect(bucket.get("a")).rejects.toMatchObject({ code: "unavailable", message: /closed/ });
});

test("after the first failure of many puts no more are begun", async () => {
  const { double, bucket } = await place();
  await bucket.put([x("first")]);
  double.counts.clear();
  double.fault = always("PUT object", errorReply(403, "AccessDenied", "Access Denied"));
  await expect(bucket.put(Array.from({ length: 100 }, (_, i) => x(`f/${i}`)))).rejects.toMatchObject({
    code: "denied",
  });
  expect(double.count("PUT object").requests).toBeLessThan(20);
  onTestFinished(() => void (double.fault = () => undefined));
});
