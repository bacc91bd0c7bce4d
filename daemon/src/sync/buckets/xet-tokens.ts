import { z } from "zod";
import type { HfToken } from "./hf-token.ts";

const reply = z.object({ accessToken: z.string().min(1), casUrl: z.url(), exp: z.number() });

/** Asked for anew so long before its end, in milliseconds. */
const MARGIN = 60_000;
const MAX_KNOWN = 100;

export interface XetToken {
  readonly accessToken: string;
  readonly casUrl: string;
}

interface Issued {
  readonly key: string;
  readonly url: string;
  readonly init: RequestInit;
  readonly token: HfToken;
}

type Send = (url: string, init: RequestInit, token: HfToken) => Promise<Response>;

/**
 * The short-lived tokens that the Hub gives for the CAS, by the person's token. The library keeps its own by URL only, for
 * the whole process, and goes on with one that the CAS has refused.
 */
export class XetTokens {
  readonly #send: Send;
  readonly #current = new Map<string, XetToken & { readonly expires: number }>();
  readonly #asked = new Map<string, Promise<XetToken>>();
  /** What a token in a request was issued for. */
  readonly #issued = new Map<string, Issued>();

  constructor(send: Send) {
    this.#send = send;
  }

  /** Of the Hub's endpoint `url`, for the person's `token`; `init` has that one's header. */
  async get(url: string, init: RequestInit, token: HfToken): Promise<XetToken> {
    const key = `${token.token} ${url}`;
    const current = this.#current.get(key);
    if (current !== undefined && current.expires > Date.now() + MARGIN) return current;
    const asked = this.#asked.get(key) ?? this.#ask(key, url, init, token).finally(() => this.#asked.delete(key));
    this.#asked.set(key, asked);
    return asked;
  }

  async #ask(key: string, url: string, init: RequestInit, token: HfToken): Promise<XetToken> {
    const response = await this.#send(url, init, token);
    const { accessToken, casUrl, exp } = reply.parse(await response.json());
    this.#current.set(key, { accessToken, casUrl, expires: exp * 1000 });
    this.#issued.set(accessToken, { key, url, init: { headers: init.headers ?? {} }, token });
    for (const old of [...this.#issued.keys()].slice(0, -MAX_KNOWN)) this.#issued.delete(old);
    return { accessToken, casUrl };
  }

  /** Whether it says that a token of the CAS is not good any more. */
  static isRefused(response: Response, init: RequestInit): boolean {
    return response.status === 401 && bearer(init) !== undefined && !bearer(init)?.startsWith("hf_");
  }

  /** Sends a request; one whose token the CAS refuses, once more with a new one. */
  async renewing(init: RequestInit, send: (init: RequestInit) => Promise<Response>): Promise<Response> {
    const response = await send(init);
    const issued = this.#issued.get(bearer(init) ?? "");
    if (issued === undefined || !XetTokens.isRefused(response, init)) return response;
    if (this.#current.get(issued.key)?.accessToken === bearer(init)) this.#current.delete(issued.key);
    const { accessToken } = await this.get(issued.url, issued.init, issued.token);
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${accessToken}`);
    return send({ ...init, headers });
  }
}

function bearer(init: RequestInit): string | undefined {
  return /^Bearer (.+)$/.exec(new Headers(init.headers).get("authorization") ?? "")?.[1];
}
