import { type AgentRequest, type CallReply, encodeBody, type Encoding, LIMITS, VlinderError } from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import type { ServiceName } from "../providers/endpoints.ts";
import { type Listener, passCall, type PassedCall } from "../providers/passed-call.ts";
import { type AskedCall, prepareCall } from "../providers/prepared-call.ts";
import { agentOf } from "./agent-access.ts";
import { scopeOf } from "./call-scope.ts";
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
  const { manifest, engine } = agentOf(core, agent);
  const scope = scopeOf(core, agent, request);
  const { method, path, headers = {}, body = null, stream = false } = request;
  const asked: AskedCall = { service, method, path, headers, body };
  const prepared = await prepareCall(asked, agent, manifest, core.providers);
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
      const passed = await passCall(prepared, { record: scope.record, signal: open.signal, listener });
      return replyOf(passed, sender, call.encoding);
    } finally {
      clearInterval(words);
    }
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
