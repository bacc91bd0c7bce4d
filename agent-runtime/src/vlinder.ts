import {
  type AgentName,
  type EventName,
  invalid,
  parseAgentName,
  parseBranchName,
  type Progress,
  type RunReply,
  VlinderError,
} from "@vlinder/protocol";
import { Client, type ConnectOptions, type EventMessages } from "./client.ts";
import { Kv, KvReader } from "./kv.ts";
import { Pipeline } from "./pipeline.ts";
import { providerFetch } from "./provider-fetch.ts";
import type { Scope } from "./scope.ts";
import { type BeginOptions, outputBytes, Turn, type TurnOutput } from "./turn.ts";
import { Uploader } from "./uploader.ts";
import { VectorReader, Vectors } from "./vectors.ts";

/** How many messages with reads, and how many with writes, are on the way at once: some are executed while others travel. */
const PIPELINES = 4;
/** Vector operations travel one by one; more at once than this would only wait in the daemon. */
const VECTOR_MESSAGES = 64;

/** An agent's state at one commit: reads only. */
export interface Past {
  readonly kv: KvReader;
  readonly vectors: VectorReader;
}

/** How a turn is asked for. */
export interface RunOptions extends Omit<BeginOptions, "input"> {
  /** Another provider or model than agent.toml says, for this turn. */
  readonly provider?: string;
  readonly model?: string;
  /** Parts of the output, as the agent gives them. */
  readonly onOutput?: (text: string) => void;
  /** Stops waiting; the turn goes on. */
  readonly signal?: AbortSignal;
}

/** An agent's state on one branch. */
export interface Branch {
  readonly kv: Kv;
  readonly vectors: Vectors;
  /** Calls models: give it to a provider's SDK as its `fetch`. See `providerFetch`. */
  readonly fetch: typeof fetch;
}

/** An agent's storage: keys and vectors on `main`, on other branches, and as they were at any commit. */
export class Vlinder implements Branch {
  readonly agent: AgentName;
  readonly client: Client;
  readonly kv: Kv;
  readonly vectors: Vectors;
  readonly fetch: typeof fetch;
  private readonly main: Scope;

  constructor(client: Client, agent: AgentName) {
    this.client = client;
    this.agent = agent;
    this.main = {
      client,
      agent,
      kv: new Pipeline(client, agent, PIPELINES),
      vectors: new Pipeline(client, agent, VECTOR_MESSAGES),
      uploader: new Uploader(client, agent),
    };
    this.kv = new Kv(this.main);
    this.vectors = new Vectors(this.main);
    this.fetch = providerFetch(this.main);
  }

  /** The state as it was at a commit: a hash or a unique prefix of it, from any reply's `state`. */
  at(commit: string): Past {
    const scope = { ...this.main, at: commit };
    return { kv: new KvReader(scope), vectors: new VectorReader(scope) };
  }

  /** @throws invalid, when it can't be a branch's name; that there is none is found by the first request */
  branch(name: string): Branch {
    const scope = { ...this.main, branch: parseBranchName(name) };
    return { kv: new Kv(scope), vectors: new Vectors(scope), fetch: providerFetch(scope) };
  }

  /**
   * Begins a turn: what it writes is seen by nobody else until `complete` makes it part of the branch.
   * @throws not_found when there is no such branch, sealed, unavailable
   */
  async begin({ input, ...options }: BeginOptions = {}): Promise<Turn> {
    const sent = input === undefined ? {} : { input: outputBytes(input) };
    const begun = await this.client.request(this.agent, "turn.begin", { ...options, ...sent });
    return new Turn(this.main, { ...begun, input: sent.input ?? null, retries: options.retries ?? null });
  }

  /**
   * Asks the agent's code, which some process serves, and waits for what it answers. A turn that failed or ended with a
   * conflict is a reply too: see its `kind`. @throws unavailable, when nobody serves the agent
   */
  run(input: TurnOutput, { onOutput, signal, ...options }: RunOptions = {}): Promise<RunReply> {
    const onProgress = ({ what, text }: Progress): void => {
      if (what === "output" && text !== undefined) onOutput?.(text);
    };
    const body = { ...options, input: outputBytes(input) };
    return this.client.request(this.agent, "run", body, { onProgress, ...(signal && { signal }) });
  }

  /** The turn that a process of the agent takes up; null when another one has it. */
  async accept(turn: string): Promise<Turn | null> {
    try {
      return new Turn(this.main, await this.client.request(this.agent, "turn.accept", { turn }));
    } catch (error) {
      if (error instanceof VlinderError && (error.code === "conflict" || error.code === "not_found")) return null;
      throw error;
    }
  }

  /** What happens to this agent from now on. */
  events<Name extends EventName>(name: Name): AsyncGenerator<EventMessages[Name], void> {
    return this.client.events(this.agent, name);
  }

  /** Requests still under way are rejected; await them first. */
  close(): Promise<void> {
    return this.client.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Connects an agent to its storage. An agent that the daemon has started need not say which one it is: `VLINDER_AGENT` does.
 * @throws unavailable when no daemon is reached, not_registered, denied, invalid
 */
export async function connect(options: ConnectOptions = {}): Promise<Vlinder> {
  const name = options.agent ?? process.env["VLINDER_AGENT"];
  if (name === undefined || name === "") {
    throw invalid("which agent connects is not said", {
      remedy: 'name it: connect({ agent: "todo" }); or set VLINDER_AGENT, as the daemon does for agents that it starts',
    });
  }
  const agent = parseAgentName(name);
  return new Vlinder(await Client.connect({ ...options, agent }), agent);
}
