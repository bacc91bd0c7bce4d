import { VlinderError } from "@vlinder/protocol";
import { isPassing, networkError, requestName } from "./http-error.ts";
import { askedToWait, rateLimit } from "./http-hints.ts";
import { HTTP_LIMITS, type HttpLimits } from "./http-limits.ts";
import { guardedBody, HttpTry } from "./http-try.ts";
import { uncopied } from "./uncopied-body.ts";

export interface HttpFetchOptions {
  /** The bucket's, as errors show it. */
  readonly uri: string;
  readonly limits?: Partial<HttpLimits>;
  /** Whether a request may be sent again though it may have been carried out. Default: all but POST and PATCH. */
  readonly isIdempotent?: (method: string, url: string) => boolean;
}

const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]);

/**
 * A `fetch` for buckets, to be given to a library that has no time-outs and no retries, or to be used as it is.
 *
 * It gives up on a server that is silent, and tries again after network errors, 408, 429 and 5xx, with
 * growing pauses and jitter, or after the time that the service names (`Retry-After`, `RateLimit`). A service that says that
 * no requests are left (`r=0`) is not asked before its window ends. Small replies and JSON are read here, so that
 * one that breaks off is tried again, too. All of that is bounded: `HttpLimits`.
 *
 * A reply of any status is given back as it is (`statusError` says what it means); what is no reply is thrown:
 * VlinderError `unavailable`, with `details.retryAfter` where the service asked for more patience than is left.
 */
export class HttpFetch {
  readonly #options: HttpFetchOptions;
  readonly #limits: HttpLimits;
  readonly #live = new Set<HttpTry>();
  /** Quota → when it has requests again. */
  readonly #blocked = new Map<string, number>();
  readonly #waits = new Set<() => void>();
  #closed = false;

  constructor(options: HttpFetchOptions) {
    this.#options = options;
    this.#limits = { ...HTTP_LIMITS, ...options.limits };
  }

  readonly fetch: typeof fetch = async (input, init) => {
    const request = await readRequest(input, init);
    const deadline = Date.now() + this.#limits.total;
    for (let n = 1; ; n++) {
      await this.#untilAllowed(request, deadline);
      const outcome = await this.#once(request).catch((error: unknown) =>
        networkError(error, request.name, this.#options.uri),
      );
      const isReply = outcome instanceof Response;
      if (isReply) this.#noteQuota(request, outcome);
      if (isReply ? !isPassing(outcome.status) : !outcome.retryable) return given(outcome);
      const wait = this.#pause(n, isReply ? askedToWait(outcome) : undefined);
      const isOver = n >= this.#limits.tries || Date.now() + wait > deadline;
      if (isOver || request.signal?.aborted || !this.#mayRepeat(request, outcome)) return given(outcome);
      if (isReply) await outcome.body?.cancel();
      await this.#sleep(wait, request.signal);
    }
  };

  /** Ends all that is under way; every later request fails. */
  close(): void {
    this.#closed = true;
    for (const one of this.#live) one.abort(this.#closedError());
    for (const wake of this.#waits) wake();
  }

  async #once(request: HttpRequest): Promise<Response> {
    if (this.#closed) throw this.#closedError();
    const { init, input, name, signal } = request;
    const attempt = new HttpTry(name, this.#options.uri, signal, () => this.#live.delete(attempt));
    this.#live.add(attempt);
    try {
      const response = await attempt.within(
        this.#limits.reply + (request.bytes / this.#limits.slowest) * 1000,
        fetch(input instanceof Request ? input.clone() : input, { ...uncopied(init), signal: attempt.signal }),
      );
      return await guardedBody(response, attempt, this.#limits.idle);
    } catch (error) {
      attempt.end();
      throw error;
    }
  }

  /** 429 and a name that has no address say that nothing was done. */
  #mayRepeat({ canReplay, method, url }: HttpRequest, outcome: Response | VlinderError): boolean {
    if (!canReplay) return false;
    const isIdempotent = this.#options.isIdempotent ?? ((verb: string): boolean => IDEMPOTENT.has(verb));
    if (isIdempotent(method, url)) return true;
    if (outcome instanceof Response) return outcome.status === 429;
    return ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"].includes(String(outcome.details["code"]));
  }

  #pause(n: number, asked: number | undefined): number {
    const jitter = 0.5 + Math.random();
    return asked === undefined ? this.#limits.pause * 2 ** (n - 1) * jitter : asked + this.#limits.pause * jitter;
  }

  #noteQuota({ quota }: HttpRequest, response: Response): void {
    const left = rateLimit(response.headers);
    if (left?.remaining === 0) this.#blocked.set(quota, Date.now() + left.resets);
    else if (left !== undefined) this.#blocked.delete(quota);
  }

  async #untilAllowed({ quota, signal, name }: HttpRequest, deadline: number): Promise<void> {
    const until = this.#blocked.get(quota) ?? 0;
    const wait = until - Date.now();
    if (wait <= 0) return;
    if (until > deadline) {
      throw new VlinderError(
        "unavailable",
        `${name} of the bucket ${this.#options.uri} must wait: no requests are left`,
        {
          remedy: "the service allows more requests later; sync less often, or raise the account's limit",
          details: { bucket: this.#options.uri, retryAfter: wait },
        },
      );
    }
    await this.#sleep(wait + this.#limits.pause * Math.random(), signal);
  }

  async #sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#waits.add(resolve);
    signal?.addEventListener("abort", () => resolve(), { once: true });
    await promise;
    clearTimeout(timer);
    this.#waits.delete(resolve);
  }

  #closedError(): VlinderError {
    return new VlinderError("unavailable", `the bucket ${this.#options.uri} was closed`, {
      details: { bucket: this.#options.uri },
      retryable: false,
    });
  }
}

interface HttpRequest {
  readonly input: string | URL | Request;
  readonly init: RequestInit;
  readonly method: string;
  readonly url: string;
  readonly name: string;
  /** Services count requests by kind, which the first part of the path tells (`/api`, `/buckets`). */
  readonly quota: string;
  /** Of the body. */
  readonly bytes: number;
  readonly canReplay: boolean;
  readonly signal: AbortSignal | undefined;
}

async function readRequest(input: string | URL | Request, init: RequestInit = {}): Promise<HttpRequest> {
  const url = input instanceof Request ? input.url : String(input);
  const method = (init.method ?? (input instanceof Request ? input.method : "GET")).toUpperCase();
  const { origin, pathname } = new URL(url);
  const signal = init.signal ?? (input instanceof Request ? input.signal : undefined);
  const { body } = init;
  return {
    input,
    init,
    method,
    url,
    name: requestName(method, url),
    quota: `${origin}/${pathname.split("/")[1] ?? ""}`,
    bytes: bodyBytes(body) ?? Number(input instanceof Request ? (input.headers.get("content-length") ?? 0) : 0),
    canReplay: body === undefined || body === null || bodyBytes(body) !== undefined,
    signal: signal ?? undefined,
  };
}

function bodyBytes(body: unknown): number | undefined {
  if (typeof body === "string") return Buffer.byteLength(body);
  if (body instanceof Blob) return body.size;
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return body.byteLength;
  return undefined;
}

function given(outcome: Response | VlinderError): Response {
  if (outcome instanceof Response) return outcome;
  throw outcome;
}
