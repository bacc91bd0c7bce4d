import type { NatsConnection, Service, ServiceMsg } from "nats";
import {
  ADMIN_OPERATIONS,
  type AdminOperation,
  adminRequests,
  adminSubject,
  AGENT_OPERATIONS,
  type AgentName,
  agentOfSubject,
  type AgentOperation,
  type agentRequests,
  agentSubjectPattern,
  asVlinderError,
  checkAgentRequest,
  checkRequest,
  decodeBody,
  type Encoding,
  encodingOf,
  ERROR_CODE_HEADER,
  ERROR_HEADER,
  isAllowedReply,
  PART_HEADER,
  type Progress,
  PROGRESS_HEADER,
  VlinderError,
} from "@vlinder/protocol";
import type { Logger } from "pino";
import type { z } from "zod";
import { UnderWay } from "../under-way.ts";
import type { Outbox } from "./outbox.ts";
import { respond } from "./respond.ts";

/** A decoded, checked request on its way to the code that answers it. */
export interface Call<Request> {
  readonly request: Request;
  /** That of the reply: the request's. */
  readonly encoding: Encoding;
  /** Sends progress to who asked, when it was asked for. */
  readonly progress: (progress: Progress) => void;
  /** Sends a part of a streamed answer, before the reply. @throws what the connection throws */
  readonly part: (number: number, body: object) => void;
}

export interface AgentCall<Request> extends Call<Request> {
  readonly agent: AgentName;
}

/** What is answered at once costs no promise: so are reads of what is in memory. */
type Answer = object | Promise<object>;

export type AgentHandlers = {
  readonly [Op in AgentOperation]: (call: AgentCall<z.output<(typeof agentRequests)[Op]>>) => Answer;
};
export type AdminHandlers = {
  readonly [Op in AdminOperation]: (call: Call<z.output<(typeof adminRequests)[Op]>>) => Answer;
};

/**
 * Requests about one agent that are at work at the same time; more are told to come again. Each agent by itself: a run may
 * wait for hours, and so many of one agent must not keep the others, or the administrator, from being answered.
 */
const MOST_AT_WORK = 4096;

interface Stats {
  requests: number;
  errors: number;
  milliseconds: number;
  lastError: string;
}

interface Route {
  /** The agent of the subject; null for the administrator's. @throws invalid */
  readonly agentOf: (subject: string) => AgentName | null;
  /** Gives what the body says. @throws invalid, too_large */
  readonly check: (body: unknown) => unknown;
  readonly handle: (call: Call<unknown>, agent: AgentName | null) => Answer;
  readonly stats: Stats;
}

/** A request that may be answered. */
interface Accepted {
  readonly route: Route;
  readonly message: ServiceMsg;
  readonly agent: AgentName | null;
  readonly encoding: Encoding;
  readonly started: number;
}

const NO_PROGRESS = (): void => {};

/**
 * The one wrapper round all handlers: checks where the reply would go, decodes, checks the request
 * once, turns what is thrown into an error reply, counts, and knows what is in
 * flight, so that a shutdown answers what was accepted.
 */
export class EndpointService {
  readonly #connection: NatsConnection;
  readonly #outbox: Outbox;
  readonly #log: Logger;
  readonly #inFlight = new UnderWay<Promise<void>>();
  /** How many of these are about each agent; null: the administrator's own. */
  readonly #atWork = new Map<AgentName | null, number>();
  #service: Service | null = null;

  constructor(connection: NatsConnection, outbox: Outbox, log: Logger) {
    this.#connection = connection;
    this.#outbox = outbox;
    this.#log = log;
  }

  async start(version: string, agents: AgentHandlers, admin: AdminHandlers): Promise<void> {
    const routes = new Map<string, Route>();
    const service = await this.#connection.services.add({
      name: "vlinder",
      version,
      description: "Storage as a service for AI agents",
      statsHandler: async ({ subject }) => ({ ...routes.get(subject)?.stats }),
    });
    this.#service = service;
    const add = (subject: string, operation: string, route: Omit<Route, "stats">): void => {
      const name = operation.replaceAll(".", "_");
      const full: Route = { ...route, stats: { requests: 0, errors: 0, milliseconds: 0, lastError: "" } };
      routes.set(subject, full);
      service.addEndpoint(name, { subject, handler: (error, message) => this.#accept(full, error, message) });
    };
    for (const operation of AGENT_OPERATIONS) {
      add(agentSubjectPattern(operation), operation, {
        agentOf: lastAgentOf(),
        check: (body) => checkAgentRequest(operation, body),
        handle: ({ request, ...call }, agent) =>
          agents[operation]({ ...call, request: request as never, agent: agent as AgentName }),
      });
    }
    for (const operation of ADMIN_OPERATIONS) {
      add(adminSubject(operation), operation, {
        agentOf: () => null,
        check: (body) => checkRequest(adminRequests[operation], body),
        handle: ({ request, ...call }) => admin[operation]({ ...call, request: request as never }),
      });
    }
  }

  /** Takes no more requests, answers those that it has, within a bound; `settle` ends what they might wait for. */
  async stop(milliseconds: number, settle: () => Promise<void> = async () => {}): Promise<void> {
    await this.#service?.stop();
    this.#service = null;
    await settle();
    const deadline = new Promise<void>((resolve) => setTimeout(resolve, milliseconds).unref());
    await Promise.race([Promise.all(this.#inFlight), deadline]);
    const left = this.#inFlight.size;
    if (left > 0) this.#log.warn({ requests: left }, "stopped before all requests were answered");
    await this.#outbox.flush(milliseconds);
  }

  #accept(route: Route, error: Error | null, message: ServiceMsg): void {
    if (error !== null) {
      this.#log.error({ err: error }, "a subscription failed");
      return;
    }
    const { stats } = route;
    stats.requests++;
    const agent = this.#mayAnswer(route, message);
    if (agent === undefined) return;
    const accepted = { route, message, agent, encoding: encodingOf(message.data), started: performance.now() };
    let answer: Answer;
    try {
      answer = this.#handle(accepted);
    } catch (thrown) {
      this.#refuse(accepted, thrown);
      return;
    }
    if (!(answer instanceof Promise)) {
      this.#answer(accepted, answer);
      return;
    }
    const work = answer
      .then(
        (body) => this.#outbox.answer(() => this.#answer(accepted, body)),
        (thrown: unknown) => this.#outbox.answer(() => this.#refuse(accepted, thrown)),
      )
      .finally(() => {
        this.#inFlight.delete(work);
        this.#count(agent, -1);
      });
    this.#inFlight.add(work);
    this.#count(agent, 1);
  }

  #count(agent: AgentName | null, more: 1 | -1): void {
    const now = (this.#atWork.get(agent) ?? 0) + more;
    if (now === 0) this.#atWork.delete(agent);
    else this.#atWork.set(agent, now);
  }

  /** Whose request it is, null for the administrator's; undefined when nobody may be answered. */
  #mayAnswer(route: Route, { subject, reply }: ServiceMsg): AgentName | null | undefined {
    let agent: AgentName | null;
    try {
      agent = route.agentOf(subject);
    } catch {
      // Not an agent's name: no inbox can be its own.
      this.#log.warn({ subject }, "a request on a subject that names no agent is ignored");
      return undefined;
    }
    if (reply !== undefined && isAllowedReply(reply, agent)) return agent;
    this.#log.warn(
      { subject, reply: reply ?? null },
      "a request whose reply would not go to the caller's inbox is ignored",
    );
    return undefined;
  }

  #handle(accepted: Accepted): Answer {
    const { route, message, agent, encoding } = accepted;
    if ((this.#atWork.get(agent) ?? 0) >= MOST_AT_WORK) throw busy(agent);
    const request = route.check(decodeBody(message.data));
    const wanted = (request as { progress?: boolean }).progress === true;
    const progress = wanted ? (one: Progress): void => this.#tell(accepted, one) : NO_PROGRESS;
    const part = (number: number, one: object): void => respond(accepted, one, { [PART_HEADER]: String(number) });
    return route.handle({ request, encoding, progress, part }, agent);
  }

  /** Told from timers, too: where the connection is closed, nobody hears it, and the work goes on. */
  #tell(accepted: Accepted, progress: Progress): void {
    try {
      respond(accepted, progress, { [PROGRESS_HEADER]: "1" });
    } catch (cause) {
      this.#log.debug({ err: cause, subject: accepted.message.subject }, "progress could not be told");
    }
  }

  #answer(accepted: Accepted, body: object): void {
    try {
      respond(accepted, body, null);
      count(accepted);
    } catch (thrown) {
      this.#refuse(accepted, thrown);
    }
  }

  #refuse(accepted: Accepted, thrown: unknown): void {
    const { stats } = accepted.route;
    const { subject } = accepted.message;
    const error = asVlinderError(thrown);
    stats.errors++;
    stats.lastError = `${error.code}: ${error.message}`;
    count(accepted);
    if (error.code === "internal") this.#log.error({ err: thrown, subject }, error.message);
    const headers = { [ERROR_CODE_HEADER]: error.code, [ERROR_HEADER]: error.message };
    try {
      respond(accepted, { error: error.toBody() }, headers);
    } catch (cause) {
      this.#log.error({ err: cause, subject }, "a reply could not be sent");
    }
  }
}

/** `agentOfSubject` for one route: most requests are about the same agent as the one before. */
function lastAgentOf(): Route["agentOf"] {
  let last: { readonly subject: string; readonly agent: AgentName } | null = null;
  return (subject) => {
    if (last?.subject !== subject) last = { subject, agent: agentOfSubject(subject) };
    return last.agent;
  };
}

function count({ route, started }: Accepted): void {
  route.stats.milliseconds += performance.now() - started;
}

function busy(agent: AgentName | null): VlinderError {
  const whose = agent === null ? "of the administrator" : `of the agent "${agent}"`;
  return new VlinderError("unavailable", `${MOST_AT_WORK} requests ${whose} are at work`, {
    details: { limit: MOST_AT_WORK },
    remedy: "send it again a little later",
  });
}
