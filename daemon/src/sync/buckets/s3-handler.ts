import { Readable } from "node:stream";
import type { S3ClientConfig } from "@aws-sdk/client-s3";
import { VlinderError } from "@vlinder/protocol";

type Handler = Extract<NonNullable<S3ClientConfig["requestHandler"]>, { handle: unknown }>;
type HttpRequest = Parameters<Handler["handle"]>[0];
type HandlerOptions = NonNullable<Parameters<Handler["handle"]>[1]>;
type HttpReply = Awaited<ReturnType<Handler["handle"]>>["response"];

const REDIRECTS: ReadonlySet<number> = new Set([302, 303, 307, 308]);
const MAX_REDIRECTS = 3;
/** What the place that a redirect names may answer; its own refusals are not about our credentials. */
const FINAL: ReadonlySet<number> = new Set([200, 206, 416]);

/** fetch offers compression by itself, and then the lengths of bodies are not what the headers say. */
const AS_IS = { "accept-encoding": "identity" };

/**
 * Carries the SDK's signed requests over a `fetch` that has time-outs and retries, and follows the redirect by which a
 * gateway sends a reader to where the bytes are (Hugging Face's answers each GET so). What it follows goes without the
 * signature, the session token and all else that the SDK added: they are for the service alone.
 */
export class S3Handler {
  readonly #fetch: typeof fetch;
  readonly #uri: string;

  constructor(uri: string, fetcher: typeof fetch) {
    this.#uri = uri;
    this.#fetch = fetcher;
  }

  async handle(request: HttpRequest, { abortSignal }: HandlerOptions = {}): Promise<{ response: HttpReply }> {
    const url = requestUrl(request);
    const { method } = request;
    // `host` and `content-length` are as fetch makes them from URL and body: the same that were signed.
    const { host: _host, "content-length": _length, ...headers } = request.headers;
    const init: RequestInit = { method, headers: { ...headers, ...AS_IS }, redirect: "manual" };
    if (abortSignal instanceof AbortSignal) init.signal = abortSignal;
    if (method !== "GET" && method !== "HEAD")
      init.body = (request.body as Uint8Array<ArrayBuffer> | undefined) ?? null;
    const response = await this.#fetch(url, init);
    const isReading = method === "GET" || method === "HEAD";
    if (!isReading || !isElsewhere(response)) return { response: reply(response) };
    const range = headers["range"];
    return {
      response: reply(await this.#follow(method, url, response, range === undefined ? AS_IS : { ...AS_IS, range })),
    };
  }

  async #follow(method: string, from: string, first: Response, headers: Record<string, string>): Promise<Response> {
    let at = from;
    let response = first;
    for (let n = 0; isElsewhere(response); n++) {
      await response.body?.cancel();
      const target = URL.parse(response.headers.get("location") ?? "", at);
      const isSafe = target?.protocol === "https:" || (target?.protocol === "http:" && at.startsWith("http:"));
      if (target === null || !isSafe || n >= MAX_REDIRECTS)
        throw this.#failed(first.status, "a redirect that leads nowhere");
      at = target.href;
      response = await this.#fetch(at, { method, headers, redirect: "manual" });
    }
    if (FINAL.has(response.status)) return response;
    await response.body?.cancel();
    throw this.#failed(response.status, `${response.status} where the service's redirect led (${new URL(at).host})`);
  }

  #failed(status: number, what: string): VlinderError {
    return new VlinderError("unavailable", `reading in the bucket ${this.#uri} was answered with ${what}`, {
      remedy: "it is tried again, with a new redirect; if it stays so, look at the service's status",
      details: { bucket: this.#uri, status, code: "BadRedirect" },
    });
  }
}

/** A redirect to a place; those of S3 itself name a region, and are errors. */
function isElsewhere({ status, headers }: Response): boolean {
  return REDIRECTS.has(status) && headers.has("location") && !headers.has("x-amz-bucket-region");
}

function requestUrl({ protocol, hostname, port, path, query }: HttpRequest): string {
  const url = new URL(`${protocol}//${hostname}${port === undefined ? "" : `:${port}`}${path}`);
  const pairs = Object.entries(query ?? {}).flatMap(([key, value]) => {
    const values = Array.isArray(value) ? value : [value];
    return values.map((one) => `${encode(key)}=${encode(one ?? "")}`);
  });
  url.search = pairs.join("&");
  return url.href;
}

/** As a signature has it (RFC 3986): `encodeURIComponent` leaves five characters more. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
}

function reply({ status, statusText, headers, body }: Response): HttpReply {
  const stream = body === null ? undefined : Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]);
  return { statusCode: status, reason: statusText, headers: Object.fromEntries(headers), body: stream };
}
