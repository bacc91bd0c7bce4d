import type { Client, RequestOptions } from "@vlinder/agent-runtime";
import { type AgentName, type AgentRequest, type Progress, type RunReply, VlinderError } from "@vlinder/protocol";

export type Asked = Pick<AgentRequest<"run">, "input" | "branch" | "session" | "provider" | "model" | "limit">;

/** Who is told how a turn goes. */
export interface TurnListener {
  /** A part of its output. */
  readonly part: (text: string) => void;
  /** It is still under way. */
  readonly alive?: (progress: Progress) => void;
}

export const CANCELLED = "cancelled with Ctrl-C";

/** A turn that somebody waits for at a terminal, and may cancel. */
export class AskedTurn<Reply = RunReply> {
  /** @throws VlinderError, also when `cancel` was called twice */
  readonly reply: Promise<Reply>;
  readonly #client: Client;
  readonly #agent: AgentName;
  readonly #listener: TurnListener;
  readonly #gone = new AbortController();
  #turn: string | null = null;
  #state: "going" | "cancelled" | "failed" = "going";

  constructor(
    client: Client,
    agent: AgentName,
    ask: (options: RequestOptions) => Promise<Reply>,
    listener: TurnListener,
  ) {
    this.#client = client;
    this.#agent = agent;
    this.#listener = listener;
    this.reply = ask({ onProgress: (progress) => this.#hear(progress), signal: this.#gone.signal });
  }

  /** A run. What agent.toml does not declare only an administrator may ask for. */
  static run(client: Client, agent: AgentName, asked: Asked, listener: TurnListener): AskedTurn {
    const operation = asked.provider === undefined && asked.model === undefined ? "run" : "run.override";
    return new AskedTurn(client, agent, (options) => client.request(agent, operation, asked, options), listener);
  }

  /** Ends the turn, with nothing moved; the second time it is not waited for any more. */
  readonly cancel = (): void => {
    if (this.#state === "going") {
      this.#state = "cancelled";
      this.#fail();
    } else {
      this.#gone.abort(this.#left());
    }
  };

  #hear(progress: Progress): void {
    const { what, text } = progress;
    if (what === "output") this.#listener.part(text ?? "");
    else if (what !== "turn") this.#listener.alive?.(progress);
    else if (text !== undefined) {
      this.#turn = text;
      this.#fail();
    }
  }

  /** As soon as it is known which turn it is. */
  #fail(): void {
    if (this.#state !== "cancelled" || this.#turn === null) return;
    this.#state = "failed";
    const body = { turn: this.#turn, reason: CANCELLED };
    // If it has ended meanwhile, its reply says how; if nobody answers, a second Ctrl-C ends the waiting.
    this.#client.request(this.#agent, "turn.fail", body).catch(() => undefined);
  }

  #left(): VlinderError {
    const what = this.#turn === null ? "the turn" : `the turn ${this.#turn}`;
    return new VlinderError("unavailable", `nobody waits for ${what} any more; it may still go on`, {
      details: { turn: this.#turn },
      retryable: false,
      remedy: `see what became of it: vlinder session list ${this.#agent}`,
    });
  }
}
