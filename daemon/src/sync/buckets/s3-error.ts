import { VlinderError } from "@vlinder/protocol";
import { isPassing, networkError, plain } from "./http-error.ts";
import { askedToWait } from "./http-hints.ts";

/** What of an error of the SDK is read. Its other fields may hold keys and tokens: the service sends them back. */
interface SdkError {
  readonly name?: unknown;
  readonly message?: unknown;
  readonly Region?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: number | undefined };
  readonly $response?: { readonly statusCode?: number; readonly headers?: Readonly<Record<string, string>> };
}

const NEW_KEYS =
  "set other ones in the environment, or in the profile in ~/.aws; vlinderd reads the files again by itself";
const REGION_CODES: ReadonlySet<string> = new Set([
  "PermanentRedirect",
  "TemporaryRedirect",
  "AuthorizationHeaderMalformed",
  "IllegalLocationConstraintException",
  "InvalidRegion",
]);

/** Codes of S3 with the remedy for each; what is not here goes by its status. */
const DENIED: ReadonlyMap<string, string> = new Map([
  ["SignatureDoesNotMatch", `the secret key is not the one of this access key: ${NEW_KEYS}`],
  ["InvalidAccessKeyId", `the service does not know this access key: ${NEW_KEYS}`],
  ["ExpiredToken", `these credentials have expired: sign in again, or ${NEW_KEYS}`],
  ["TokenRefreshRequired", `these credentials have expired: sign in again, or ${NEW_KEYS}`],
  ["InvalidToken", `the session token is none of this service: ${NEW_KEYS}`],
  ["RequestTimeTooSkewed", "this machine's clock differs from the service's by too much: set it"],
]);
const RIGHTS =
  "let these credentials list the bucket and read, write and delete its files: docs/s3.md has the smallest policy";
/** Answers of 4xx that are gone a moment later. */
const PASSING_CODES: ReadonlySet<string> = new Set([
  "RequestTimeout",
  "OperationAborted",
  "ConditionalRequestConflict",
  "SlowDown",
]);
/** Codes after which other credentials may help, though the status is not always 401 or 403. */
const EXPIRED: ReadonlySet<string> = new Set(["ExpiredToken", "TokenRefreshRequired", "InvalidToken"]);

/** What the SDK calls a reply without a code. */
const NAMELESS: ReadonlySet<unknown> = new Set([
  "Unknown",
  "UnknownError",
  "Error",
  "NotFound",
  "Forbidden",
  "BadRequest",
]);

/** The code that S3 gave ("NoSuchKey"); "" where a reply has none, as that to a HEAD. */
export function s3Code(error: unknown): string {
  const { name } = (error ?? {}) as SdkError;
  return typeof name === "string" && !NAMELESS.has(name) && !/^\d+$/.test(name) ? name : "";
}

/** The reply's status; undefined where there was no reply. */
export function s3Status(error: unknown): number | undefined {
  const { $metadata, $response } = (error ?? {}) as SdkError;
  return $metadata?.httpStatusCode ?? $response?.statusCode;
}

/** Whether it may go away with credentials read anew. */
export function isAboutCredentials(error: unknown): boolean {
  const status = s3Status(error);
  const code = s3Code(error);
  // An expired token is a 400, and the reply to a HEAD has no code.
  if (status === 400 && code === "") return true;
  return EXPIRED.has(code) || ((status === 401 || status === 403) && code !== "RequestTimeTooSkewed");
}

/** Whether the service says that it has no such operation, or does not know this header. */
export function isNotImplemented(error: unknown): boolean {
  const status = s3Status(error);
  return status === 501 || status === 405 || (status === 400 && s3Code(error) === "NotImplemented");
}

/** An error of the SDK, or of a service through it, as the Bucket contract wants it; without a cause, for it may hold secrets. */
export function s3Error(error: unknown, doing: string, uri: string): VlinderError {
  if (error instanceof VlinderError) return error;
  const { $response, message: said, Region } = (error ?? {}) as SdkError;
  const status = s3Status(error);
  const code = s3Code(error);
  if (code === "CredentialsProviderError" || code === "TokenProviderError") return noCredentials(doing, uri);
  if (status === undefined) return withoutCause(networkError(error, doing, uri));

  const text = typeof said === "string" && !DENIED.has(code) && said !== "UnknownError" ? plain(said) : "";
  const message = `${doing} in the bucket ${uri} was answered with ${status}${code === "" ? "" : ` ${code}`}${text === "" ? "" : `: ${text}`}`;
  const details: Record<string, unknown> = { bucket: uri, status, code };
  const make = (kind: "unavailable" | "denied", remedy: string, retryable?: boolean): VlinderError =>
    new VlinderError(kind, message, { remedy, details, ...(retryable === undefined ? {} : { retryable }) });

  const region = $response?.headers?.["x-amz-bucket-region"] ?? (typeof Region === "string" ? Region : undefined);
  if (REGION_CODES.has(code) || status === 301) {
    const known = region !== undefined && /^[a-z0-9-]{1,63}$/.test(region);
    if (known) details["region"] = region;
    const remedy = known
      ? `the bucket is in another region: write region=${region} in its URI`
      : "the bucket is in another region: write region=NAME in its URI";
    return make("unavailable", remedy, false);
  }
  if (code === "NoSuchBucket")
    return make("unavailable", `there is no such bucket: \`vlinder init '${uri}'\` makes it`, false);
  const denied = DENIED.get(code);
  if (denied !== undefined) return make("denied", denied);
  if (code === "InvalidObjectState")
    return make("unavailable", "the file was moved to an archive: restore it there", false);
  if (status === 401 || status === 403) return make("denied", RIGHTS);
  if (code === "BucketAlreadyExists") {
    return make("unavailable", "somebody else has a bucket of this name: choose another one", false);
  }
  if (status === 507 || code === "QuotaExceeded") return make("unavailable", "free some space in the bucket", false);
  if (isPassing(status) || PASSING_CODES.has(code)) {
    const wait = askedToWait(new Response(null, { status: 503, headers: retryHeader($response?.headers) }));
    if (wait !== undefined) details["retryAfter"] = wait;
    return make("unavailable", "the service asks to come back later, or has a fault: it is tried again", true);
  }
  if (status < 300) return make("unavailable", "what answers there is no S3 service: check the endpoint", false);
  return make("unavailable", "the service refuses this request, also later: see what it says", false);
}

function retryHeader(headers: Readonly<Record<string, string>> | undefined): Record<string, string> {
  const asked = headers?.["retry-after"];
  return asked === undefined ? {} : { "retry-after": asked };
}

function noCredentials(doing: string, uri: string): VlinderError {
  return new VlinderError("denied", `${doing} in the bucket ${uri} failed: no credentials were found`, {
    remedy:
      "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for vlinderd, or a profile in ~/.aws/credentials (AWS_PROFILE); with SSO, sign in again",
    details: { bucket: uri, code: "NoCredentials" },
  });
}

function withoutCause({ code, message, remedy, details, retryable }: VlinderError): VlinderError {
  return new VlinderError(code, message, { details, retryable, ...(remedy === undefined ? {} : { remedy }) });
}
