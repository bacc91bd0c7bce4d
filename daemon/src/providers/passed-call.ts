import type { IncomingMessage } from "node:http";
import { type AgentName, type Hash, LIMITS, type Tokens, VlinderError } from "@vlinder/protocol";
import { responseHeaders } from "./headers.ts";
import { HeldAnswers } from "./held-answers.ts";
import type { PreparedCall } from "./prepared-call.ts";
import { callError, type RecordCall } from "./recorded-call.ts";
import { Redactor } from "./redactor.ts";
import { NoAnswer, send } from "./upstream.ts";
import { tokensOf } from "./usage.ts";
import { Watchdog } from "./watchdog.ts";

/** Who hears an answer as it comes. What it returns is awaited before more is read of the provider. */
export interface Listener {
  head(status: number, headers: Readonly<Record<string, string>>): void | Promise<void>;
  /** At most `LIMITS.valueBytes`. */
  part(bytes: Uint8Array): void | Promise<void>;
}

export interface PassOptions {
  readonly record: RecordCall;
  /** Breaks the call off; its reason is what is thrown. */
  readonly signal: AbortSignal;
  readonly listener: Listener | null;
  /** Without a byte of the provider, in milliseconds; default ten minutes. */
  readonly idle?: number;
}

/** An answer that came whole and was recorded. */
export interface PassedCall {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  readonly tokens: Tokens | null;
  /** Null: it is recorded nowhere. */
  readonly state: Hash | null;
}

/** As long as the SDKs wait. */
const IDLE = 10 * 60 * 1000;
const held = new HeldAnswers();

/** What is known of a call while it goes on. */
interface Progress {
  status: number | null;
  headers: Readonly<Record<string, string>>;
  readonly chunks: Buffer[];
  size: number;
  /** Whether the provider may have got the request. */
  reached: boolean;
}

/**
 * Makes a call and records it, also one that breaks off, with what came of it. Only a call that never reached the provider
 * is recorded nowhere. @throws unavailable, timeout, too_large, the signal's reason, and what recording throws
 */
export async function passCall(call: PreparedCall, options: PassOptions): Promise<PassedCall> {
  const started = performance.now();
  const progress: Progress = { status: null, headers: {}, chunks: [], size: 0, reached: false };
  let failure: unknown = null;
  try {
    await exchange(call, options, progress);
  } catch (error) {
    failure = error;
  }
  const { status, headers, reached } = progress;
  try {
    if (!reached) throw failure;
    const body = Buffer.concat(progress.chunks);
    const tokens = tokensOf(call.target.usage, headers["content-type"] ?? "", body);
    const recorded = await options.record({
      service: call.asked.service,
      provider: call.provider,
      model: call.model,
      method: call.asked.method,
      path: call.asked.path,
      status,
      milliseconds: Math.round(performance.now() - started),
      tokens,
      contentType: headers["content-type"] ?? null,
      from: null,
      complete: failure === null,
      error: callError(failure),
      request: call.asked.body,
      response: body,
    });
    if (failure !== null) throw failure;
    return { status: status ?? 0, headers, body, tokens, state: recorded?.state ?? null };
  } finally {
    held.give(call.agent, progress.size);
  }
}

async function exchange(call: PreparedCall, options: PassOptions, progress: Progress): Promise<void> {
  const { listener, idle = IDLE } = options;
  const watchdog = new Watchdog(idle, options.signal, () => silent(call.provider, idle));
  let response: IncomingMessage | null = null;
  try {
    options.signal.throwIfAborted();
    const { url, method } = call.target;
    const { headers, asked } = call;
    const sent = await send({ url, method, headers, body: asked.body, signal: watchdog.signal });
    const { body } = sent;
    response = sent.response;
    progress.reached = true;
    progress.status = response.statusCode ?? 0;
    progress.headers = responseHeaders(response.headers, call.key);
    refuseRedirect(call, response);
    watchdog.rest();
    await listener?.head(progress.status, progress.headers);
    const redactor = new Redactor(call.key);
    for await (const chunk of watchdog.watched(body)) await take(call.agent, redactor.push(chunk), listener, progress);
    await take(call.agent, redactor.end(), listener, progress);
  } catch (error) {
    if (error instanceof NoAnswer) progress.reached = error.reached;
    throw watchdog.reason ?? failureOf(error, call.provider, progress);
  } finally {
    watchdog.end();
    // Whatever ended the reading ends the connection.
    response?.destroy();
  }
}

async function take(agent: AgentName, bytes: Buffer, listener: Listener | null, progress: Progress): Promise<void> {
  if (bytes.length === 0) return;
  if (progress.size + bytes.length > LIMITS.answerBytes) throw tooLong();
  held.take(agent, bytes.length);
  progress.size += bytes.length;
  progress.chunks.push(bytes);
  for (let start = 0; start < bytes.length; start += LIMITS.valueBytes) {
    await listener?.part(bytes.subarray(start, start + LIMITS.valueBytes));
  }
}

/** The key would go along, to wherever the answer says. */
function refuseRedirect({ provider }: PreparedCall, { statusCode = 0 }: IncomingMessage): void {
  if (statusCode < 300 || statusCode >= 400) return;
  throw new VlinderError("unavailable", `the provider "${provider}" redirects (${statusCode}), and is not followed`, {
    retryable: false,
    details: { provider, status: statusCode },
    remedy: `write the address that it means as url of [providers.${provider}] in config.toml`,
  });
}

function failureOf(error: unknown, provider: string, { status, size }: Progress): unknown {
  if (error instanceof VlinderError) return error;
  const { code, message } = (error instanceof NoAnswer ? error.cause : error) as NodeJS.ErrnoException;
  const why = code === undefined || message.includes(code) ? message : `${message} (${code})`;
  const what =
    status === null
      ? `the provider "${provider}" gave no answer: ${why}`
      : `the answer of the provider "${provider}" broke off after ${size} bytes: ${why}`;
  return new VlinderError("unavailable", what, {
    cause: error,
    details: { provider },
    remedy: `\`vlinder provider test ${provider}\` says whether it can be reached`,
  });
}

function silent(provider: string, milliseconds: number): VlinderError {
  return new VlinderError("timeout", `the provider "${provider}" sent nothing for ${milliseconds} ms`, {
    details: { provider, milliseconds },
    remedy: "try again; a smaller request or a streamed answer may help",
  });
}

function tooLong(): VlinderError {
  return new VlinderError("too_large", `the provider's answer is longer than ${LIMITS.answerBytes} bytes`, {
    details: { limit: LIMITS.answerBytes },
    remedy: "ask for less at once: fewer inputs, or fewer tokens",
  });
}
