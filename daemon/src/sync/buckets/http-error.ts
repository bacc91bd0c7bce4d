import { VlinderError } from "@vlinder/protocol";
import { askedToWait } from "./http-hints.ts";

const MAX_TEXT = 64 * 1024;

/** The words of a kind of bucket for what its service answers. */
export interface ServiceWords {
  /** The bucket's, as errors show it. */
  readonly uri: string;
  /** What to do about 401 (who are you?) and 403 (you may not). */
  denied(status: number): string;
  /** What to do when the bucket is not there (404). */
  readonly missing: string;
}

/** What was asked, without what may be secret: a signed URL has its signature in the query. */
export function requestName(method: string, url: string): string {
  const { origin, pathname } = new URL(url);
  return `${method} ${origin}${pathname}`;
}

/** Whether the same request may succeed later by itself. */
export function isPassing(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 501 && status !== 507);
}

/** A reply that is not a success, as the Bucket contract wants it. Takes the reply's body. */
export async function statusError(response: Response, request: string, words: ServiceWords): Promise<VlinderError> {
  const { status } = response;
  const said = await serviceText(response);
  const message = `${request} of the bucket ${words.uri} was answered with ${status}${said === "" ? "" : `: ${said}`}`;
  const details: Record<string, unknown> = { bucket: words.uri, status };
  if (status === 401 || status === 403) {
    return new VlinderError("denied", message, { remedy: words.denied(status), details });
  }
  if (status === 404 || status === 410) {
    return new VlinderError("unavailable", message, { remedy: words.missing, details, retryable: false });
  }
  if (isPassing(status)) {
    const wait = askedToWait(response);
    if (wait !== undefined) details["retryAfter"] = wait;
    const remedy =
      status === 429 ? "the service asks to come back later" : "the service has a fault: it is tried again";
    return new VlinderError("unavailable", message, { remedy, details });
  }
  const remedy = "the service refuses this request, also later: see what it says";
  return new VlinderError("unavailable", message, { remedy, details, retryable: false });
}

/** No reply, or one that broke off. */
export function networkError(error: unknown, request: string, uri: string): VlinderError {
  if (error instanceof VlinderError) return error;
  const code = causeCode(error);
  return new VlinderError("unavailable", `${request} of the bucket ${uri} failed: ${code}`, {
    remedy: "check the connection; it is tried again",
    details: { bucket: uri, code },
    cause: error,
  });
}

/** `ECONNREFUSED` of an Error somewhere below, or what it says. */
function causeCode(error: unknown): string {
  let text = "unknown error";
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const { code } = at as { code?: unknown };
    if (typeof code === "string" && code !== "") return code;
    text = at.message;
  }
  return plain(text);
}

async function serviceText(response: Response): Promise<string> {
  const text = await startOf(response);
  try {
    const { error, message } = JSON.parse(text) as { error?: unknown; message?: unknown };
    const said = typeof error === "string" ? error : message;
    return typeof said === "string" ? plain(said) : "";
  } catch {
    return plain(/<Message>([^<]*)<\/Message>/.exec(text)?.[1] ?? "");
  }
}

/** Enough of a body to have its message, and no more: it may be of any size. */
async function startOf({ body }: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const part of body ?? []) {
      parts.push(part);
      bytes += part.length;
      if (bytes > MAX_TEXT) break;
    }
  } catch {
    // What arrived until it broke off is better than nothing.
  }
  return Buffer.concat(parts).toString();
}

/** Text of a service or a library as one short line, without what looks like a token or the query of a URL. */
export function plain(text: string): string {
  const line = text
    .replaceAll(/\?\S+/g, "?…")
    .replaceAll(/\b(hf_|Bearer\s+|eyJ)[\w.~+/=-]+/g, "…")
    // oxlint-disable-next-line no-control-regex
    .replaceAll(/[\x00-\x1f\x7f-\x9f\s]+/g, " ")
    .trim();
  return line.length > 200 ? `${line.slice(0, 200)}…` : line;
}
