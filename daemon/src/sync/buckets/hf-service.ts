import { VlinderError } from "@vlinder/protocol";
import { isPassing, plain, requestName, type ServiceWords, statusError } from "./http-error.ts";
import { HttpFetch } from "./http-fetch.ts";
import type { HttpLimits } from "./http-limits.ts";
import type { HfToken } from "./hf-token.ts";
import { type XetToken, XetTokens } from "./xet-tokens.ts";
import type { XetUpload } from "./xet-upload.ts";

const DEFAULT_ENDPOINT = "https://huggingface.co";

export interface HfServiceOptions {
  /** The bucket's, as errors show it. */
  readonly uri: string;
  /** `owner/name`. */
  readonly id: string;
  readonly env: NodeJS.ProcessEnv;
  readonly limits?: Partial<HttpLimits>;
}

/** A file of a commit that the Hub did not take. */
export interface Refused {
  readonly path: string;
  readonly error: string;
}

export interface HfCallOptions {
  /** Ends all of its requests. */
  readonly signal?: AbortSignal;
  /** Answers what it asks for a token of the CAS. */
  readonly xet?: XetToken;
  /** Answers its dedup queries; without it, nothing is known to be there. */
  readonly upload?: XetUpload;
}

/** What a call of the library gets: its `fetch`, and what only the wire tells. */
export interface HfCall {
  readonly fetch: typeof fetch;
  /** The library says only how many files of a batch failed, not why. */
  readonly refused: readonly Refused[];
}

/**
 * The wire below `@huggingface/hub`. The library sends each request once, waits for ever, keeps a token of the
 * CAS after it was refused, and throws HTTP statuses; here requests time out and are tried again (HttpFetch), such tokens
 * are renewed, and what is no success becomes a VlinderError, which the library hands through. The person's token
 * goes nowhere but to the endpoint.
 */
export class HfService {
  readonly endpoint: string;
  readonly #options: HfServiceOptions;
  readonly #http: HttpFetch;
  readonly #xet: XetTokens;

  constructor(options: HfServiceOptions) {
    this.#options = options;
    this.endpoint = endpointOf(options.env);
    const { limits, uri } = options;
    // All that the library sends may be sent twice: chunks are named by their hash, and a batch says what is to be, not what to change.
    this.#http = new HttpFetch({ uri, isIdempotent: () => true, ...(limits === undefined ? {} : { limits }) });
    this.#xet = new XetTokens((url, init, token) => this.#checked(url, init, token));
  }

  /** One call of the library with this token. */
  call(token: HfToken, { signal, upload, xet }: HfCallOptions = {}): HfCall {
    const refused: Refused[] = [];
    const call: typeof fetch = async (input, init) => {
      const url = input instanceof Request ? input.url : String(input);
      const options = signal === undefined ? init : { ...init, signal };
      const response = await this.#seen(url, options ?? {}, upload, (current) =>
        this.#route(url, current, token, { xet, upload }),
      );
      if (url.endsWith("/batch")) refused.push(...(await failedOf(response.clone())));
      return response;
    };
    return { fetch: call, refused };
  }

  /** A token for the CAS, of the endpoint `url`. It may end at any time, and is renewed then. */
  async xetToken(url: string, token: HfToken): Promise<XetToken> {
    return this.#xet.get(url, { headers: { Authorization: `Bearer ${token.token}` } }, token);
  }

  close(): void {
    this.#http.close();
  }

  /** What the library threw, as the Bucket contract wants it. */
  error(error: unknown, doing: string, token: HfToken): VlinderError {
    if (error instanceof VlinderError) return error;
    const { uri } = this.#options;
    const status = (error as { statusCode?: unknown } | null)?.statusCode;
    if (typeof status === "number" && !isPassing(status) && status !== 403)
      return this.#refusal(error, doing, status, token);
    // A string, when setting up a stream failed; SyntaxError and others, when a reply makes no sense.
    const text = error instanceof Error ? error.message : String(error);
    return new VlinderError("unavailable", `${doing} failed in the bucket ${uri}: ${plain(text)}`, {
      remedy: "it is tried again; if it stays so, Hugging Face may have changed its service: update vlinder",
      details: { bucket: uri },
    });
  }

  #refusal(error: unknown, doing: string, status: number, token: HfToken): VlinderError {
    const { uri } = this.#options;
    const text = `${doing} failed in the bucket ${uri} with ${status}: ${plain((error as Error).message)}`;
    const details = { bucket: uri, status };
    if (status === 401) return new VlinderError("denied", text, { remedy: this.#words(token).denied(status), details });
    return new VlinderError("unavailable", text, {
      remedy: "the service refuses this request, also later: see what it says",
      details,
      retryable: false,
    });
  }

  /** Tells an upload what became of its shards. */
  async #seen(
    url: string,
    init: RequestInit,
    upload: XetUpload | undefined,
    send: (init: RequestInit) => Promise<Response>,
  ): Promise<Response> {
    if (upload === undefined || !new URL(url).pathname.endsWith("/v1/shards")) return send(init);
    try {
      const response = await send(init);
      if (response.ok) upload.took(init.body);
      return response;
    } catch (error) {
      upload.failed(error);
      throw error;
    }
  }

  async #route(
    url: string,
    init: RequestInit,
    token: HfToken,
    { xet, upload }: { readonly xet: XetToken | undefined; readonly upload: XetUpload | undefined },
  ): Promise<Response> {
    const { pathname } = new URL(url);
    if (/\/xet-(read|write)-token$/.test(pathname)) {
      // An end in the past: the library keeps no copy, which it would use after a refusal and for other tokens.
      return Response.json({ ...(xet ?? (await this.#xet.get(url, init, token))), exp: 0 });
    }
    // Packs are new and compressed: a query for each of them would find nothing that could be left out.
    if (/\/v1\/chunks\//.test(pathname)) return upload?.answer() ?? new Response(null, { status: 404 });
    return this.#xet.renewing(init, (current) => this.#checked(url, current, token));
  }

  /** @throws denied, unavailable: what is neither a success nor a reply that the library knows how to take */
  async #checked(url: string, init: RequestInit, token: HfToken): Promise<Response> {
    this.#keepToken(url, init, token);
    const name = requestName(init.method ?? "GET", url);
    const response = await this.#http.fetch(url, init);
    if (response.ok || isForLibrary(response, init) || XetTokens.isRefused(response, init)) return response;
    const isHub =
      new URL(url).origin === new URL(this.endpoint).origin && /^\/(api|buckets)\//.test(new URL(url).pathname);
    if (response.status !== 404 || isHub) throw await statusError(response, name, this.#words(token));
    const { uri } = this.#options;
    throw new VlinderError("unavailable", `${name} of the bucket ${uri} failed: the CAS lacks data of a file (404)`, {
      remedy: "it is tried again; if it stays so, that file is lost at Hugging Face",
      details: { bucket: uri, status: 404 },
    });
  }

  #keepToken(url: string, init: RequestInit, { token }: HfToken): void {
    const isOurs = new URL(url).origin === new URL(this.endpoint).origin;
    if (isOurs || new Headers(init.headers).get("authorization")?.includes(token) !== true) return;
    throw new VlinderError("denied", `the service led to ${new URL(url).origin} with the token for ${this.endpoint}`, {
      remedy: "check HF_ENDPOINT: the token was not sent there",
      details: { bucket: this.#options.uri },
    });
  }

  #words({ from }: HfToken): ServiceWords {
    const { id, uri } = this.#options;
    const owner = id.split("/")[0] as string;
    return {
      uri,
      denied: (status) =>
        status === 401
          ? `the token from ${from} is not accepted (expired, revoked, or mistyped): put a new one there`
          : `the token from ${from} lacks a right: it must be able to read and write ${owner}'s repositories ` +
            `(role write, or fine-grained with write access to ${owner})`,
      missing: `make it with vlinder init ${uri}; a private bucket that the token from ${from} may not see looks the same`,
    };
  }
}

function endpointOf(env: NodeJS.ProcessEnv): string {
  const text = (env["HF_ENDPOINT"] || DEFAULT_ENDPOINT).replace(/\/+$/, "");
  if (URL.canParse(text) && /^https?:\/\//.test(text)) return text;
  throw new VlinderError("invalid", `HF_ENDPOINT is no URL: ${JSON.stringify(text).slice(0, 120)}`, {
    remedy: `unset it, or use ${DEFAULT_ENDPOINT}`,
  });
}

/** No such file; a batch of which parts failed; a bucket that is there already; a signed URL that is too old. */
function isForLibrary({ headers, status }: Response, init: RequestInit): boolean {
  if (status === 404) return headers.get("x-error-code") === "EntryNotFound";
  if (status === 409 || status === 422) return init.method === "POST";
  return status === 403 && !new Headers(init.headers).has("authorization");
}

async function failedOf(response: Response): Promise<Refused[]> {
  try {
    const { failed } = (await response.json()) as { failed?: unknown };
    return (Array.isArray(failed) ? failed : []).map((one: { path?: unknown; error?: unknown } | null) => ({
      path: plain(String(one?.path)),
      error: plain(String(one?.error)),
    }));
  } catch {
    return [];
  }
}
