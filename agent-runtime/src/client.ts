import { setTimeout as sleep } from "node:timers/promises";
import {
  type AdminOperation,
  type AdminReplies,
  adminRequests,
  adminSubject,
  type AgentName,
  type AgentOperation,
  type AgentReplies,
  agentRequests,
  agentSubject,
  checkAgentRequest,
  checkRequest,
  type CommitEventMessage,
  decodeBody,
  encodeBody,
  type EventName,
  eventSubject,
  type InvokeMessage,
  invokeSubject,
  parseAgentName,
  type Progress,
  type TurnEventMessage,
  VlinderError,
} from "@vlinder/protocol";
import { backoff } from "./backoff.ts";
import { openConnection } from "./connection.ts";
import { type DaemonAddress, type DaemonLocation, findDaemon } from "./find-daemon.ts";
import type { Mux } from "./mux.ts";
import { newId } from "./new-id.ts";
import { readReply } from "./reply.ts";

export interface ConnectOptions extends DaemonLocation {
  /** Milliseconds for one try of a request; default 10,000. Progress starts it anew. */
  readonly timeout?: number;
  /** Tries after the first one where trying again is safe; default 6, over about five seconds when nobody answers. */
  readonly retries?: number;
  /** Shown to who looks at the server's connections. */
  readonly name?: string;
}

export interface RequestOptions {
  /** Milliseconds for one try; default the connection's. */
  readonly timeout?: number;
  /** Called for each message about progress; asks for them too. */
  readonly onProgress?: (progress: Progress) => void;
  /** Called for each part of a streamed answer, with its number and its encoded body. */
  readonly onPart?: (number: number, body: Uint8Array) => void;
  /** Stops waiting: the request rejects with the signal's reason. What the daemon has begun it may finish. */
  readonly signal?: AbortSignal;
}

const NO_OPTIONS: RequestOptions = {};

/** Milliseconds between looks at the connection, for who only listens. */
const LOOK_EVERY = 2000;

/** What the daemon publishes about an agent. */
export interface EventMessages {
  readonly commit: CommitEventMessage;
  readonly turn: TurnEventMessage;
  readonly sync: Readonly<Record<string, unknown>>;
}

/** These take as long as a turn. */
const LONG: ReadonlySet<string> = new Set(["run", "run.override", "turn.replay"] satisfies AgentOperation[]);

/** Done twice these would fail or mean something else, and they carry no id: not repeated once they may have arrived. */
const ONCE: ReadonlySet<string> = new Set([
  "timeline.delete_branch",
  // Each one may cost money: who calls decides about another try.
  "service.infer",
  "service.embed",
  "agents.remove",
  "agents.restart",
  "agents.export",
  "agents.import",
  "agents.import_vlindercli",
  "agents.import_agentvault",
  "sync.drill",
  "daemon.drain",
  "sync.init",
  "vault.rotate",
] satisfies (AgentOperation | AdminOperation)[]);

/**
 * Requests to the daemon, typed by operation: what the SDK and the command line are made of.
 *
 * A request that got no answer (timeout, lost connection, nobody there, `unavailable`) is sent again,
 * with backoff. That is safe: a write carries an id, made once for the call, and the daemon does what
 * one id asks for once. Errors that would be the same again surface at once.
 */
export class Client {
  readonly agent: AgentName | null;
  readonly retries: number;
  private readonly options: ConnectOptions;
  private address: DaemonAddress;
  private mux: Mux;
  private moving: Promise<void> | null = null;
  private closed = false;

  private constructor(options: ConnectOptions, address: DaemonAddress, agent: AgentName | null, mux: Mux) {
    this.options = options;
    this.address = address;
    this.agent = agent;
    this.mux = mux;
    this.retries = options.retries ?? 6;
  }

  /** @throws unavailable when no daemon is reached, denied, not_registered */
  static async connect(options: ConnectOptions = {}): Promise<Client> {
    const agent = options.agent === undefined ? null : parseAgentName(options.agent);
    const address = await findDaemon(options);
    return new Client(options, address, agent, await openMux(address, agent, options));
  }

  /** Asks about one agent. @throws VlinderError with the daemon's code, or unavailable, timeout, denied */
  async request<Op extends AgentOperation>(
    agent: AgentName,
    operation: Op,
    body: object,
    options: RequestOptions = {},
  ): Promise<AgentReplies[Op]> {
    const { shape } = agentRequests[operation];
    // Signs of life keep it from being given up.
    const alive = LONG.has(operation) ? { onProgress: () => {}, ...options } : options;
    const whole = complete(body, shape, alive);
    checkAgentRequest(operation, whole);
    return this.send(agent, operation, encodeBody(whole, "msgpack"), alive);
  }

  /** The same for a body that is checked, complete and encoded. @throws VlinderError */
  send<Op extends AgentOperation>(
    agent: AgentName,
    operation: Op,
    body: Uint8Array,
    options: RequestOptions = NO_OPTIONS,
  ): Promise<AgentReplies[Op]> {
    const reply: Promise<unknown> = this.exchange(agentSubject(agent, operation), operation, body, options);
    return reply as Promise<AgentReplies[Op]>;
  }

  /** Asks what only the administrator may ask. @throws VlinderError */
  async admin<Op extends AdminOperation>(
    operation: Op,
    body: object = {},
    options: RequestOptions = {},
  ): Promise<AdminReplies[Op]> {
    const whole = complete(body, adminRequests[operation].shape, options);
    checkRequest(adminRequests[operation], whole);
    const reply = await this.exchange(adminSubject(operation), operation, encodeBody(whole, "msgpack"), options);
    return reply as unknown as AdminReplies[Op];
  }

  /**
   * What the daemon publishes about an agent from now on, until the loop is left, the signal says so or the client is closed.
   * What happens while the connection is down is not repeated: read the state after a pause.
   */
  events<Name extends EventName>(
    agent: AgentName,
    name: Name,
    options: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<EventMessages[Name], void> {
    return this.messages<EventMessages[Name]>(eventSubject(agent, name), options);
  }

  /** Turns that wait to be taken up; of all processes that ask with these credentials each is told to one. */
  invocations(agent: AgentName, options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<InvokeMessage, void> {
    return this.messages<InvokeMessage>(invokeSubject(agent), { ...options, queue: "serve" });
  }

  private async *messages<Message>(
    subject: string,
    { signal, queue }: { readonly signal?: AbortSignal; readonly queue?: string },
  ): AsyncGenerator<Message, void> {
    const goesOn = (): boolean => !this.closed && signal?.aborted !== true;
    while (goesOn()) {
      const subscription = this.mux.connection.subscribe(subject, queue === undefined ? {} : { queue });
      const end = (): void => subscription.unsubscribe();
      signal?.addEventListener("abort", end);
      // Who only listens sends nothing that would find out that the daemon is at another address now.
      const look = setInterval(() => void this.reachable(this.timeout).catch(() => {}), LOOK_EVERY).unref();
      try {
        for await (const message of subscription) yield decodeBody(message.data) as Message;
      } catch (cause) {
        if (cause instanceof VlinderError) throw cause;
        throw new VlinderError("denied", `these credentials may not listen to ${subject}`, { cause });
      } finally {
        clearInterval(look);
        signal?.removeEventListener("abort", end);
        subscription.unsubscribe();
      }
      // The subscription ended with its connection: go on with the one that took its place.
      if (goesOn() && !(await this.reachable(this.timeout))) await pause(backoff(this.retries));
    }
  }

  /** Requests still under way are rejected. */
  async close(): Promise<void> {
    this.closed = true;
    await this.mux.close();
  }

  private get timeout(): number {
    return this.options.timeout ?? 10_000;
  }

  private async exchange(
    subject: string,
    operation: string,
    body: Uint8Array,
    options: RequestOptions,
  ): Promise<Record<string, unknown>> {
    const { onProgress, signal } = options;
    const exchange = {
      subject,
      body,
      timeout: options.timeout ?? this.timeout,
      signal,
      onPart: options.onPart,
      onProgress: onProgress && ((data: Uint8Array) => onProgress(decodeBody(data) as unknown as Progress)),
    };
    for (let attempt = 0; ; attempt++) {
      try {
        if (attempt > 0) await this.reachable(exchange.timeout);
        return readReply(await this.mux.exchange(exchange));
      } catch (error) {
        if (attempt >= this.retries || this.closed || !mayRepeat(error, operation)) throw error;
        await pause(backoff(attempt), signal);
      }
    }
  }

  /** Waits for the connection; a daemon that came back at another address is looked up again. */
  private async reachable(timeout: number): Promise<boolean> {
    if (await this.mux.ready(Math.min(timeout, 1_000))) return true;
    this.moving ??= this.move().finally(() => (this.moving = null));
    try {
      await this.moving;
    } catch (error) {
      // A daemon that is down has no address, or one where nobody answers: the old one is the best guess.
      if (!(error instanceof VlinderError && error.retryable)) throw error;
    }
    return this.mux.ready(timeout);
  }

  private async move(): Promise<void> {
    const address = await findDaemon(this.options);
    if (address.url === this.address.url) return;
    const mux = await openMux(address, this.agent, this.options);
    const old = this.mux;
    this.mux = mux;
    this.address = address;
    await old.close();
    if (this.closed) await mux.close();
  }
}

function openMux(address: DaemonAddress, agent: AgentName | null, options: ConnectOptions): Promise<Mux> {
  return openConnection(address, agent, options.name ?? agent ?? "vlinder");
}

/** A request with the id that makes it safe to repeat, where its operation takes one. */
function complete(body: object, shape: object, options: RequestOptions): object {
  const whole: Record<string, unknown> = {};
  // Absent and undefined are the same here.
  for (const [name, value] of Object.entries(body)) if (value !== undefined) whole[name] = value;
  if ("id" in shape && whole["id"] === undefined) whole["id"] = newId();
  if (options.onProgress !== undefined && "progress" in shape) whole["progress"] = true;
  return whole;
}

async function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    // The timer's own AbortError says less than the reason that the caller gave.
    signal?.throwIfAborted();
    throw error;
  }
}

function mayRepeat(error: unknown, operation: string): boolean {
  if (!(error instanceof VlinderError) || !error.retryable) return false;
  return !ONCE.has(operation) || error.details["received"] === false;
}
