import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { errorReply } from "../../../test/harness/s3/s3-reply.ts";
import type { Bucket } from "../../src/sync/buckets/bucket.ts";
import { bucketOn, KEYS, logIn, logInByProfile, logOut, openBucketOf, pathsIn, startDouble } from "./s3-places.ts";

const OLD = { ...KEYS, sessionToken: "IQoJb3JpZ2luX2VjOLDTOKEN" };
const NEW = { accessKeyId: "ASIANEWKEY", secretAccessKey: "another/secret", sessionToken: "IQoJb3JpZ2luX2VjNEWTOKEN" };

async function failure(work: Promise<unknown>): Promise<Error> {
  return work.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error as Error,
  );
}

describe("credentials", () => {
  test("with a session token are taken from the environment", async () => {
    const double = await startDouble();
    double.keys.set(NEW.accessKeyId, NEW);
    logIn(NEW);
    expect(await pathsIn(await openBucketOf(double, "vault", { create: true }))).toEqual([]);
  });

  test("come from the profile that AWS_PROFILE names", async () => {
    const double = await startDouble();
    logInByProfile("work", KEYS);
    expect(await pathsIn(await openBucketOf(double, "vault", { create: true }))).toEqual([]);
  });

  test("that expired are read again, once for all requests under way", async () => {
    const double = await startDouble();
    double.keys.set(OLD.accessKeyId, OLD);
    const write = logInByProfile("work", OLD);
    const bucket = await openBucketOf(double, "vault", { create: true });
    await bucket.put([{ path: "a", bytes: Buffer.from("x") }]);
    double.keys.delete(OLD.accessKeyId);
    double.keys.set(NEW.accessKeyId, NEW);
    write(NEW);
    double.counts.clear();
    const gets = Array.from({ length: 6 }, () => bucket.get("a"));
    for (const bytes of await Promise.all(gets)) expect(bytes).toEqual(Buffer.from("x"));
    expect(double.count("GET object").requests).toBeLessThanOrEqual(12);
    await bucket.delete(["a"]);
    expect(double.count("DELETE object").requests).toBe(1);
  });

  test("that expired and are still the same are denied, with no second request, and taken up later", async () => {
    const double = await startDouble();
    const write = logInByProfile("work", OLD);
    double.keys.set(OLD.accessKeyId, OLD);
    const bucket = await openBucketOf(double, "vault", { create: true });
    double.counts.clear();
    double.fault = () =>
      errorReply(400, "ExpiredToken", "The provided token has expired.", { "Token-0": OLD.sessionToken });
    await expect(pathsIn(bucket)).rejects.toMatchObject({ code: "denied", remedy: /expired/ });
    expect(double.count("LIST").requests).toBe(1);
    double.fault = () => undefined;
    double.keys.clear();
    double.keys.set(NEW.accessKeyId, NEW);
    write(NEW);
    expect(await pathsIn(bucket)).toEqual([]);
  });

  test("that expired are read again for a HEAD, too, whose reply has no code", async () => {
    const double = await startDouble();
    double.keys.set(OLD.accessKeyId, OLD);
    const write = logInByProfile("work", OLD);
    const bucket = await openBucketOf(double, "vault", { create: true });
    await bucket.put([{ path: "a", bytes: Buffer.from("x") }]);
    double.keys.clear();
    double.keys.set(NEW.accessKeyId, NEW);
    write(NEW);
    double.counts.clear();
    double.fault = ({ n, route }) => (route === "HEAD object" && n === 1 ? { status: 400 } : undefined);
    expect((await bucket.sizes(["a"])).get("a")).toBe(1);
  });

  test("that are not there are denied, and set later they are found", async () => {
    const double = await startDouble();
    await bucketOn(double);
    logOut();
    const bucket = await openBucketOf(double, "vault");
    await expect(pathsIn(bucket)).rejects.toMatchObject({ code: "denied", remedy: /AWS_ACCESS_KEY_ID/ });
    logIn(KEYS);
    expect(await pathsIn(bucket)).toEqual([]);
  });

  test("are in no error, whatever the service sends back", async () => {
    const double = await startDouble();
    double.keys.set(OLD.accessKeyId, OLD);
    logIn(OLD);
    const bucket = await openBucketOf(double, "vault", { create: true });
    const secrets = [OLD.secretAccessKey, OLD.sessionToken, "canonical-request-with-a-secret"];
    const leaks = errorReply(403, "SignatureDoesNotMatch", `${OLD.sessionToken} ${OLD.secretAccessKey}`, {
      AWSAccessKeyId: OLD.accessKeyId,
      "Token-0": OLD.sessionToken,
      CanonicalRequest: "canonical-request-with-a-secret",
    });
    double.fault = () => leaks;
    const all: ((bucket: Bucket) => Promise<unknown>)[] = [
      (one) => one.get("a"),
      (one) => one.put([{ path: "a", bytes: Buffer.from("x") }]),
      (one) => one.sizes(["a"]),
      (one) => pathsIn(one),
      (one) => one.delete(["a"]),
      (one) => one.delete(["a", "b"]),
    ];
    for (const use of all) {
      const error = await failure(use(bucket));
      const shown = inspect(error, { depth: 20, showHidden: true });
      for (const secret of secrets) expect(shown).not.toContain(secret);
    }
  });
});
