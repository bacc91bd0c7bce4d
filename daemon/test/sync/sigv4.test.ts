import { expect, test } from "vitest";
import { signatureProblem } from "../../../test/harness/s3/sigv4.ts";

const KEYS = { accessKeyId: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" };
const NOW = Date.parse("2013-05-24T00:00:00Z");
const EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** The examples of Amazon's documentation ("Examples: Signature Calculations"). */
const EXAMPLES = [
  {
    url: "/test.txt",
    headers: { range: "bytes=0-9" },
    signed: "host;range;x-amz-content-sha256;x-amz-date",
    signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  },
  {
    url: "/?max-keys=2&prefix=J",
    headers: {},
    signed: "host;x-amz-content-sha256;x-amz-date",
    signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
  },
];

for (const { url, headers, signed, signature } of EXAMPLES) {
  const credential = `Credential=${KEYS.accessKeyId}/20130524/us-east-1/s3/aws4_request`;
  const request = {
    method: "GET",
    url,
    body: Buffer.alloc(0),
    headers: {
      host: "examplebucket.s3.amazonaws.com",
      "x-amz-date": "20130524T000000Z",
      "x-amz-content-sha256": EMPTY,
      ...headers,
      authorization: `AWS4-HMAC-SHA256 ${credential},SignedHeaders=${signed},Signature=${signature}`,
    },
  };

  test(`the double's check of signatures takes Amazon's example of ${url}, and nothing near it`, () => {
    expect(signatureProblem(request, () => KEYS, NOW)).toBeNull();
    const code = (changed: object, now = NOW, keys: typeof KEYS | undefined = KEYS): string | undefined =>
      signatureProblem({ ...request, ...changed }, () => keys, now)?.code;
    expect(code({ url: `${url}x` })).toBe("SignatureDoesNotMatch");
    expect(code({ method: "PUT" })).toBe("SignatureDoesNotMatch");
    expect(code({ body: Buffer.from("x") })).toBe("XAmzContentSHA256Mismatch");
    expect(code({ headers: { ...request.headers, "x-amz-acl": "public" } })).toBe("AccessDenied");
    expect(code({}, NOW, { ...KEYS, secretAccessKey: "x" })).toBe("SignatureDoesNotMatch");
    expect(code({}, NOW + 16 * 60_000)).toBe("RequestTimeTooSkewed");
    expect(signatureProblem(request, () => undefined, NOW)?.code).toBe("InvalidAccessKeyId");
  });
}
