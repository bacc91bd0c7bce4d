import { expect, test } from "vitest";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { parseS3Uri } from "../../src/sync/buckets/s3-uri.ts";

const AMAZON = { endpoint: undefined, region: "us-east-1" };

test("the URI of an S3 bucket is read", () => {
  expect(parseS3Uri("s3://my.bucket")).toEqual({ bucket: "my.bucket", prefix: "", ...AMAZON });
  expect(parseS3Uri("s3://b1/")).toEqual({ bucket: "b1", prefix: "", ...AMAZON });
  expect(parseS3Uri("s3://b1/a/b/?region=eu-west-1")).toEqual({
    bucket: "b1",
    prefix: "a/b/",
    ...AMAZON,
    region: "eu-west-1",
  });
  for (const endpoint of ["https://s3.hf.co/me", "https%3A%2F%2Fs3.hf.co%2Fme%2F"]) {
    const expected = { bucket: "vault", prefix: "", endpoint: "https://s3.hf.co/me", region: "us-east-1" };
    expect(parseS3Uri(`s3://vault?endpoint=${endpoint}`)).toEqual(expected);
  }
  expect(parseS3Uri("s3://b1?endpoint=http://[::1]:9000").endpoint).toBe("http://[::1]:9000");
});

test("a URI that is none is invalid, and says why", async () => {
  const bad: readonly [string, RegExp][] = [
    ["s3:bucket", /form/],
    ["s3://", /name of the bucket/],
    ["s3:///a", /name of the bucket/],
    ["s3://a", /name of the bucket/],
    ["s3://b%20c", /name of the bucket/],
    ["s3://arn:aws:s3:::x", /name of the bucket/],
    ["s3://b1#x", /form/],
    ["s3://b1//a", /prefix/],
    ["s3://b1/../a", /prefix/],
    ["s3://b1/.a", /prefix/],
    ["s3://b1/a?x=1", /no setting "x"/],
    ["s3://b1/a?region=a&region=b", /twice/],
    ["s3://b1/a?region=EU%20West", /region/],
    ["s3://b1/a?endpoint=localhost:9000", /endpoint/],
    ["s3://b1/a?endpoint=ftp://host", /endpoint/],
    ["s3://b1/a?endpoint=https://host/?x=1", /endpoint/],
    ["s3://b1/a?endpoint=", /endpoint/],
  ];
  for (const [uri, message] of bad) {
    await expect(openBucket(uri), uri).rejects.toMatchObject({
      code: "invalid",
      message: expect.stringMatching(message) as string,
    });
  }
});

test("a URI with a key in it is refused without showing it", async () => {
  const uris = [
    "s3://AKIDEXAMPLE:hidden@bucket",
    "s3://hidden@bucket/a",
    "s3://bucket?endpoint=https://user:hidden@host",
    "s3://bucket?secret_access_key=hidden",
  ];
  for (const uri of uris) {
    const error = await openBucket(uri).then(
      () => null,
      (reason: unknown) => reason as { code: string; message: string; remedy: string },
    );
    expect(error).toMatchObject({ code: "invalid" });
    expect(`${error?.message} ${error?.remedy}`).not.toContain("hidden");
  }
});
