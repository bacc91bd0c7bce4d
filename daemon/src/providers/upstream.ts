import { on } from "node:events";
import { type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { pipeline, type Readable } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate } from "node:zlib";
import { VlinderError } from "@vlinder/protocol";

export interface Outgoing {
  readonly url: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | null;
  readonly signal: AbortSignal;
}

export interface Incoming {
  readonly response: IncomingMessage;
  /** The body, decoded. Read no further, it holds the provider up. */
  readonly body: AsyncIterable<Buffer>;
}

/** To a connection, in milliseconds. */
const CONNECT = 15_000;

/** A request did not come to an answer. */
export class NoAnswer extends Error {
  /** The provider may have got it, and done what it asks for. */
  readonly reached: boolean;

  constructor(cause: Error, reached: boolean) {
    super(cause.message, { cause });
    this.reached = reached;
  }
}

/**
 * One request over a connection of its own: on one that is kept, a request may meet the end of it, and nobody would know
 * whether the provider got it. Node's own client: it follows no redirect, sends no header that was not given, and has no
 * time limit. @throws NoAnswer
 */
export function send({ url, method, headers, body, signal }: Outgoing): Promise<Incoming> {
  const start = url.startsWith("https:") ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    let reached = false;
    const request = start(url, { method, headers, signal, agent: false });
    const late = setTimeout(() => request.destroy(new Error(`no connection in ${CONNECT} ms`)), CONNECT);
    request.on("socket", (socket) => {
      socket.once(url.startsWith("https:") ? "secureConnect" : "connect", () => {
        clearTimeout(late);
        reached = true;
      });
    });
    request.on("error", (error) => {
      clearTimeout(late);
      reject(new NoAnswer(error, reached));
    });
    request.on("response", (response) => {
      try {
        resolve({ response, body: decoded(response) });
      } catch (error) {
        response.destroy();
        reject(error as Error);
      }
    });
    request.end(body ?? undefined);
  });
}

/** It was asked for as it is; a proxy on the way may have compressed it all the same. */
function decoded(response: IncomingMessage): AsyncIterable<Buffer> {
  const encoding = (response.headers["content-encoding"] ?? "identity").trim().toLowerCase();
  if (encoding === "identity" || encoding === "") return arriving(response);
  const decoder = decoderOf(encoding);
  // The decoder's reader hears of it when one of the two fails.
  return arriving(pipeline(response, decoder, () => {}));
}

/** Pieces that wait to be taken before the connection is held up. */
const MOST_WAITING = 8;

/**
 * What arrives, from now on. A stream that fails drops what it holds, and a connection that is cut would take with it what
 * came before: so pieces are taken out of it at once, and the failure is met behind them.
 */
function arriving(stream: Readable): AsyncIterable<Buffer> {
  const events = on(stream, "data", { close: ["end"], highWaterMark: MOST_WAITING, lowWaterMark: 1 });
  return (async function* () {
    for await (const [piece] of events as AsyncIterable<[Buffer]>) yield piece;
  })();
}

function decoderOf(encoding: string) {
  if (encoding === "gzip" || encoding === "x-gzip") return createGunzip();
  if (encoding === "deflate") return createInflate();
  if (encoding === "br") return createBrotliDecompress();
  throw new VlinderError("unavailable", `the provider answers in an encoding that was not asked for: ${encoding}`, {
    retryable: false,
    remedy: "look at what is between vlinderd and the provider, and at its url in config.toml",
  });
}
