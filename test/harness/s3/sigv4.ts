import { createHash, createHmac } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

export interface SignedRequest {
  readonly method: string;
  /** As it came, with the query. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface SignatureProblem {
  readonly code: string;
  readonly message: string;
}

const MAX_SKEW = 15 * 60 * 1000;
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([a-z0-9-]+)\/s3\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/;

const sha256 = (data: string | Buffer): string => createHash("sha256").update(data).digest("hex");
const hmac = (key: string | Buffer, data: string): Buffer => createHmac("sha256", key).update(data).digest();

/**
 * Checks an AWS signature, version 4, in the `Authorization` header, as Amazon's documentation describes it; written apart from
 * the client that it judges. Returns what is wrong, or null.
 */
export function signatureProblem(
  request: SignedRequest,
  keysOf: (accessKeyId: string) => Keys | undefined,
  now: number,
): SignatureProblem | null {
  const { headers } = request;
  if (headers.authorization === undefined) return { code: "AccessDenied", message: "Anonymous access is forbidden" };
  const match = AUTHORIZATION.exec(headers.authorization);
  if (match === null) return { code: "AuthorizationHeaderMalformed", message: "The authorization header is malformed" };
  const [, accessKeyId = "", day = "", region = "", signed = "", signature] = match;
  const date = one(headers["x-amz-date"]);
  const time = Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));
  if (Number.isNaN(time) || !date.startsWith(day)) return { code: "AccessDenied", message: "no date was signed" };
  if (Math.abs(time - now) > MAX_SKEW) {
    return {
      code: "RequestTimeTooSkewed",
      message: "The difference between the request time and the current time is too large.",
    };
  }
  const keys = keysOf(accessKeyId);
  if (keys === undefined) {
    return { code: "InvalidAccessKeyId", message: "The AWS Access Key Id you provided does not exist in our records." };
  }
  if (one(headers["x-amz-security-token"]) !== (keys.sessionToken ?? "")) {
    return { code: "InvalidToken", message: "The provided token is malformed or otherwise invalid." };
  }
  const names = signed.split(";");
  const mustSign = Object.keys(headers).filter(
    (name) => name === "host" || name.startsWith("x-amz-") || name === "content-md5",
  );
  if (mustSign.some((name) => !names.includes(name))) {
    return { code: "AccessDenied", message: "There were headers present in the request which were not signed" };
  }
  const payload = one(headers["x-amz-content-sha256"]);
  if (payload !== sha256(request.body)) {
    return { code: "XAmzContentSHA256Mismatch", message: "The provided 'x-amz-content-sha256' header does not match" };
  }
  const expected = signatureOf(request, names, payload, { date, day, region, secret: keys.secretAccessKey });
  if (expected === signature) return null;
  return {
    code: "SignatureDoesNotMatch",
    message: "The request signature we calculated does not match the signature you provided.",
  };
}

function signatureOf(
  { method, url, headers }: SignedRequest,
  names: readonly string[],
  payload: string,
  { date, day, region, secret }: { date: string; day: string; region: string; secret: string },
): string {
  const [path = "", query = ""] = url.split("?");
  const pairs = query.split("&").filter(Boolean);
  const canonicalQuery = pairs.map((pair) => (pair.includes("=") ? pair : `${pair}=`)).toSorted();
  const canonicalHeaders = names.map((name) => `${name}:${one(headers[name]).trim().replaceAll(/ +/g, " ")}\n`);
  const canonical = [method, path, canonicalQuery.join("&"), canonicalHeaders.join(""), names.join(";"), payload].join(
    "\n",
  );
  const scope = `${day}/${region}/s3/aws4_request`;
  const text = ["AWS4-HMAC-SHA256", date, scope, sha256(canonical)].join("\n");
  const key = [day, region, "s3", "aws4_request"].reduce<string | Buffer>(hmac, `AWS4${secret}`);
  return hmac(key, text).toString("hex");
}

/** The region that a request was signed for. */
export function signedRegion(headers: IncomingHttpHeaders): string | undefined {
  return AUTHORIZATION.exec(headers.authorization ?? "")?.[3];
}

function one(value: string | string[] | undefined): string {
  return Array.isArray(value) ? value.join(",") : (value ?? "");
}
