import { type AgentRequest, type CallReply, encodeBody, type Encoding, LIMITS, VlinderError } from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import type { ServiceName } from "../providers/endpoints.ts";
import { type Listener, passCall, type PassedCall } from "../providers/passed-call.ts";
import { type AskedCall, prepareCall } from "../providers/prepared-call.ts";
import { agentOf } from "./agent-access.ts";
import type { StateEngine } from "../state/engine.ts";
import type { OldCall } from "../turns/old-call.ts";
import { answerOf } from "../turns/replayed-turn.ts";
import { type CallScope, type Recorded, scopeOf } from "./call-scope.ts";
import type { OpenCall, OpenCalls } from "./open-calls.ts";
import type { AgentCall, AgentHandlers } from "./service.ts";

type Handlers = Pick<AgentHandlers, Extract<keyof AgentHandlers, `service.${string}`>>;
type ServiceCall = AgentCall<AgentRequest<"service.infer">>;

/** Who waits is told that it goes on, in milliseconds. */
const WORD = 2_000;
/** JSON writes a control character as six: so much always fits. */
const JSON_PART = Math.floor((LIMITS.replyBytes - 1024) / 6);

/** `vlinder.v1.<agent>.service.*`: requests that are passed to the provider that agent.toml declares. */
export function serviceCallHandlers(core: Core, calls: OpenCalls): Handlers {
  return {
    "service.infer": (call) => callProvider(core, calls, "infer", call),
    "service.embed": (call) => callProvider(core, calls, "embed", call),
    "service.ack": ({ agent, request: { call, received, cancel = false } }) => ({
      open: calls.acknowledge(agent, call, received, cancel),
    }),
  };
}

async function callProvider(core: Core, calls: OpenCalls, service: ServiceName, call: ServiceCall): Promise<CallReply> {
  const { agent, request } = call;
  const { engine } = agentOf(core, agent);
  const scope = scopeOf(core, agent, request);
  const { method, path, headers = {}, body = null, stream = false } = request;
  const asked: AskedCall = { service, method, path, headers, body };
  const answer =
    scope.recorded === null ? await asking(core, call, asked, scope) : answering(asked, scope, scope.recorded, engine);
  // Before it costs anything. The answer is kept in any case: it may be a little over.
  await engine.retention.quota.admit(() => body?.length ?? 0);
  const stated = { name: request.call, streamed: stream, outer: scope.signal };
  return await calls.run(agent, stated, async (open) => {
    const sender = stream ? new PartSender(call, open) : null;
    let received = 0;
    const listener = sender ?? { head: () => {}, part: (bytes: Uint8Array) => void (received += bytes.length) };
    const words = setInterval(() => {
      call.progress({ what: "waiting", done: sender?.bytes ?? received, total: null, unit: "bytes" });
    }, WORD);
    try {
      const passed = await answer(open.signal, listener);
      return replyOf(passed, sender, call.encoding);
    } finally {
      clearInterval(words);
    }
  });
}

type Answer = (signal: AbortSignal, listener: Listener) => Promise<PassedCall>;

/** Asks the provider. Checked before anything is sent. */
async function asking(core: Core, { agent }: ServiceCall, asked: AskedCall, scope: CallScope): Promise<Answer> {
  const { manifest } = agentOf(core, agent);
  const prepared = await prepareCall(asked, agent, manifest, core.providers, scope.instead);
  return (signal, listener) => passCall(prepared, { record: scope.record, signal, listener });
}

/** Gives the answer that the turn got then: no provider is asked, and no key is needed. It fails with conflict, erased. */
function answering(asked: AskedCall, scope: CallScope, { calls, diverged }: Recorded, engine: StateEngine): Answer {
  return async (signal, listener) => {
    const { call, body: request, answer: old, instead } = calls.take(asked);
    const { service, method, path } = asked;
    if (old === null) {
      await diverged({ service, method, path, request, call, instead: instead?.commit ?? null });
      throw notAskedThen(call, instead);
    }
    const body = await answerOf(engine, old);
    const headers = old.contentType === null ? {} : { "content-type": old.contentType };
    signal.throwIfAborted();
    const { provider, model, status, milliseconds, tokens, contentType, complete, error, commit } = old;
    if (hadHead(old)) await listener.head(status ?? 0, headers);
    for (let start = 0; start < body.length; start += LIMITS.valueBytes) {
      await listener.part(body.subarray(start, start + LIMITS.valueBytes));
    }
    const told = { provider, model, status, milliseconds, tokens, contentType, complete, error, from: commit };
    const kept = await scope.record({ service, method, path, request, response: body, ...told });
    if (!complete) throw brokenOff(old, body.length);
    return { status: status ?? 0, headers, body, tokens, state: kept?.state ?? null };
  };
}

/** Whether the agent heard of an answer at all: of a redirect it does not. */
function hadHead({ status, complete }: OldCall): boolean {
  return status !== null && (complete || status < 300 || status >= 400);
}

/** As it broke off then. */
function brokenOff({ provider, error }: OldCall, size: number): VlinderError {
  if (error !== null) {
    const { code, message, remedy, retryable } = error;
    return new VlinderError(code, message, {
      retryable,
      details: { provider },
      ...(remedy === null ? {} : { remedy }),
    });
  }
  return new VlinderError(
    "unavailable",
    `the recorded answer of the provider "${provider}" broke off after ${size} bytes`,
    {
      details: { provider },
    },
  );
}

function notAskedThen(call: number, instead: OldCall | null): VlinderError {
  return new VlinderError("conflict", `call ${call} of the replay is not one that the turn made`, {
    details: { call, recorded: instead?.commit ?? null },
    remedy: "the agent asks something else than it did then; without --recorded the replay asks a model",
  });
}

/** Sends an answer on as it comes, no faster than it is taken. */
class PartSender implements Listener {
  readonly #call: ServiceCall;
  readonly #open: OpenCall;
  parts = 0;
  bytes = 0;

  constructor(call: ServiceCall, open: OpenCall) {
    this.#call = call;
    this.#open = open;
  }

  head(status: number, headers: Readonly<Record<string, string>>): void {
    this.#call.part(this.parts++, { status, headers });
    void this.#open.window?.sent(0);
  }

  async part(bytes: Uint8Array): Promise<void> {
    const most = this.#call.encoding === "json" ? JSON_PART : bytes.length;
    for (let start = 0; start < bytes.length; start += most) {
      const body = bytes.subarray(start, start + most);
      this.#call.part(this.parts++, { body });
      this.bytes += body.length;
      await this.#open.window?.sent(body.length);
      this.#open.signal.throwIfAborted();
    }
  }
}

function replyOf(passed: PassedCall, sender: PartSender | null, encoding: Encoding): CallReply {
  const { status, headers, body, tokens } = passed;
  const reply = { status, headers, size: body.length, tokens, state: passed.state };
  if (sender !== null) return { ...reply, parts: sender.parts };
  const whole = { ...reply, body };
  if (body.length > JSON_PART && encodeBody(whole, encoding).length > LIMITS.replyBytes) {
    throw new VlinderError("too_large", `the answer has ${body.length} bytes, more than one reply holds`, {
      details: { size: body.length, limit: LIMITS.replyBytes, state: passed.state },
      remedy: "ask with stream: true; the answer is recorded in the commit that details.state names",
    });
  }
  return whole;
}
