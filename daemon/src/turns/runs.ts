import {
  type AcceptReply,
  type AgentName,
  type AgentRequest,
  type InvokeMessage,
  type Progress,
  type RunReply,
  VlinderError,
} from "@vlinder/protocol";
import type { StateEngine } from "../state/engine.ts";
import type { Ended } from "../state/turns/ended.ts";
import type { BeginRequest, TurnNews } from "../state/turns/turns.ts";
import { endedTurn, turnValue } from "./turn-item.ts";

/**
 * How long an agent has to take up a turn, in milliseconds; of a turn with a short limit this part of it, so that who
 * asked is told that nobody was there, and not that it took too long.
 */
const ACCEPT_WAIT = 15_000;
const ACCEPT_PART = 0.9;
/** How often it is told of it meanwhile. */
const ANNOUNCE_EVERY = 1000;
/** Characters of an emitted part that travel in one message: so many fit in any encoding. */
const PART = 128 * 1024;
/** Between signs of life to who waits for a run. */
const ALIVE_EVERY = 3000;

export type OnProgress = (progress: Progress) => void;

/** A turn that somebody waits for. */
interface Waiting {
  readonly agent: AgentName;
  readonly watchers: Set<OnProgress>;
  readonly ended: Promise<Ended>;
  readonly end: (ended: Ended) => void;
  readonly accepted: Promise<void>;
  /** Null: a process has it. */
  accept: (() => void) | null;
  /** The id of that process's request. */
  acceptedBy: string | null;
}

export interface RunGround {
  /** Tells the agent's processes of a turn that waits. */
  readonly announce: (agent: AgentName, message: InvokeMessage) => void;
  /** Makes sure that the agent's process runs, where the daemon is who starts it. */
  readonly wake: (agent: AgentName) => void;
}

/** Runs of agents: a turn is begun, the agent's code takes it up and ends it, and who asked gets its output. */
export class Runs {
  #ground: RunGround = { announce: () => {}, wake: () => {} };
  readonly #waiting = new Map<string, Waiting>();

  /** How turns reach the agents' code. */
  serve(ground: RunGround): void {
    this.#ground = ground;
  }

  /**
   * @param begun told of the turn before the agent's code is
   * @throws unavailable, when no process of the agent takes it up; what `begin` throws
   */
  async run(
    agent: AgentName,
    engine: StateEngine,
    asked: { readonly begin: BeginRequest; readonly id: string | undefined },
    onProgress: OnProgress,
    onBegun: (turn: string) => void = () => {},
  ): Promise<Omit<RunReply, "sync">> {
    const progress: OnProgress = (one) => {
      try {
        onProgress(one);
      } catch {
        // The connection is closed. It is neither the agent's matter nor a timer's that somebody can't be told.
      }
    };
    const begun = await engine.turns.begin(asked.begin, asked.id, true);
    const { turn, session, branch } = begun;
    onBegun(turn);
    const waiting = this.#wait(agent, turn);
    waiting.watchers.add(progress);
    // Asked for again by its id, it may have ended meanwhile.
    const past = engine.turns.find(turn) === null ? await endedTurn(engine, turn) : null;
    if (past !== null) waiting.end(past);
    progress({ what: "turn", done: 0, total: null, unit: "seconds", text: turn });
    const started = performance.now();
    const alive = setInterval(() => {
      const done = Math.round((performance.now() - started) / 1000);
      progress({ what: "running", done, total: null, unit: "seconds" });
    }, ALIVE_EVERY);
    try {
      if (waiting.accept !== null && past === null) {
        const wait = Math.min(ACCEPT_WAIT, (asked.begin.limit ?? Number.POSITIVE_INFINITY) * ACCEPT_PART);
        const taken = await this.#announce(waiting, { agent, ...begun }, wait);
        if (!taken) throw await nobodyServes(agent, engine, turn, this.#takenUp(agent));
      }
      const ended = await waiting.ended;
      return { turn, session, branch, ...(await outcome(engine, ended)) };
    } finally {
      clearInterval(alive);
      waiting.watchers.delete(progress);
      if (waiting.watchers.size === 0) this.#waiting.delete(turn);
    }
  }

  /** The first process that asks gets the turn. @throws not_found, conflict */
  async accept(agent: AgentName, engine: StateEngine, { turn, id }: AgentRequest<"turn.accept">): Promise<AcceptReply> {
    const open = engine.turns.required(turn);
    const waiting = this.#waiting.get(turn);
    const again = id !== undefined && waiting?.acceptedBy === id;
    if (waiting === undefined || waiting.agent !== agent || (waiting.accept === null && !again)) {
      throw new VlinderError("conflict", `the turn "${turn}" waits for nobody`, {
        details: { turn },
        remedy: "another process has it, or who began it runs it itself",
      });
    }
    waiting.accept?.();
    waiting.accept = null;
    waiting.acceptedBy = id ?? null;
    const { event } = await engine.commit(open.invoked);
    const input = turnValue(event, "input");
    const { retries } = event.info ?? {};
    return {
      turn,
      session: open.session,
      branch: open.branch.name,
      base: open.base,
      state: open.invoked,
      input: input === null ? null : await engine.requiredValue(input.hash, input.size),
      retries: typeof retries === "string" ? retries : null,
      deadline: new Date(open.deadline).toISOString(),
    };
  }

  /** A part of the output, for who waits. @throws not_found */
  emit(engine: StateEngine, turn: string, text: string): void {
    engine.turns.required(turn);
    const watchers = [...(this.#waiting.get(turn)?.watchers ?? [])];
    for (const part of partsOf(text)) {
      const progress = {
        what: "output",
        done: Buffer.byteLength(part),
        total: null,
        unit: "bytes",
        text: part,
      } as const;
      for (const tell of watchers) tell(progress);
    }
  }

  /** A turn has ended. */
  ended({ turn, ended }: TurnNews): void {
    if (ended !== null) this.#waiting.get(turn)?.end(ended);
  }

  /** A process of the agent is gone: turns that it may have taken up will not be ended by it. */
  async lost(agent: AgentName, engine: StateEngine, why: string): Promise<void> {
    for (const [turn, waiting] of this.#waiting) {
      if (waiting.agent === agent && waiting.accept === null) await engine.turns.fail(turn, why).catch(() => undefined);
    }
  }

  #wait(agent: AgentName, turn: string): Waiting {
    const known = this.#waiting.get(turn);
    if (known !== undefined) return known;
    const [ended, accepted] = [Promise.withResolvers<Ended>(), Promise.withResolvers<void>()];
    const waiting: Waiting = {
      agent,
      watchers: new Set(),
      ended: ended.promise,
      end: ended.resolve,
      accepted: accepted.promise,
      accept: accepted.resolve,
      acceptedBy: null,
    };
    this.#waiting.set(turn, waiting);
    return waiting;
  }

  /** How many turns of an agent are at processes of it. */
  #takenUp(agent: AgentName): number {
    const all = [...this.#waiting.values()];
    return all.filter((one) => one.agent === agent && one.accept === null).length;
  }

  /** Whether somebody took it up, or ended it. */
  async #announce({ accepted, ended, agent }: Waiting, message: InvokeMessage, wait: number): Promise<boolean> {
    const announce = (): void => this.#ground.announce(agent, message);
    this.#ground.wake(agent);
    announce();
    const again = setInterval(announce, ANNOUNCE_EVERY);
    let timer: NodeJS.Timeout | undefined;
    const over = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), wait);
    });
    try {
      return await Promise.race([accepted.then(() => true), ended.then(() => true), over]);
    } finally {
      clearInterval(again);
      clearTimeout(timer);
    }
  }
}

/** Cut between characters. */
function* partsOf(text: string): Generator<string> {
  for (let start = 0; start < text.length;) {
    let end = Math.min(start + PART, text.length);
    if (end < text.length && (text.codePointAt(end - 1) as number) > 0xffff) end--;
    yield text.slice(start, end);
    start = end;
  }
}

async function outcome(
  engine: StateEngine,
  ended: Ended,
): Promise<Omit<RunReply, "turn" | "session" | "branch" | "sync">> {
  const { kind, state, commit } = ended;
  const { event } = await engine.commit(commit);
  const output = turnValue(event, "output");
  const bytes = output === null ? null : await engine.requiredValue(output.hash, output.size);
  const base = { kind, state, commit, output: bytes };
  if (ended.kind !== "completed") {
    return { ...base, head: null, merged: false, conflicts: 0, reason: ended.reason, kept: ended.branch };
  }
  const { head, merged, conflicts } = ended;
  return { ...base, head, merged, conflicts, reason: null, kept: null };
}

async function nobodyServes(
  agent: AgentName,
  engine: StateEngine,
  turn: string,
  others: number,
): Promise<VlinderError> {
  const busy = others > 0 ? `: they are busy (turns at work: ${others})` : "";
  await engine.turns.fail(turn, `no process of the agent took it up${busy}`).catch(() => undefined);
  return new VlinderError("unavailable", `no process of the agent "${agent}" took up the turn${busy}`, {
    details: { turn, busy: others },
    retryable: false,
    remedy:
      others > 0
        ? "run it again when they are done; serve() takes as many turns at a time as its `concurrency` says, and several processes may serve an agent"
        : `start it: its code calls serve(); \`vlinder logs ${agent}\` shows what a process of the daemon's says`,
  });
}
