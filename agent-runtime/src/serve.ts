import { VlinderError } from "@vlinder/protocol";
import type { ConnectOptions } from "./client.ts";
import type { Turn, TurnOutput } from "./turn.ts";
import { connect, type Vlinder } from "./vlinder.ts";

export interface ServeOptions extends ConnectOptions {
  /** Turns at the same time; default 16. */
  readonly concurrency?: number;
  /** Told of what a turn's function threw; default: standard error. */
  readonly onError?: (error: unknown, turn: Turn) => void;
}

/** An agent's code at work. */
export interface Server {
  readonly vlinder: Vlinder;
  /** Takes up no more turns, and waits for those under way. */
  close(): Promise<void>;
  /** Resolves when it is closed. @throws what ended it, such as credentials that are not good any more */
  readonly closed: Promise<void>;
}

/**
 * Runs an agent: each turn that somebody asks for (`vlinder run`, or `vlinder.v1.<agent>.run`) calls the function, and what
 * it returns is the turn's output. When it throws, the turn fails, and nothing is moved. Several processes may
 * serve one agent; each turn goes to one of them.
 *
 * @throws unavailable when no daemon is reached, not_registered, denied
 */
export async function serve(
  agent: string,
  run: (turn: Turn) => Promise<TurnOutput> | TurnOutput,
  options: ServeOptions = {},
): Promise<Server> {
  const { concurrency = 16, onError = say, ...connection } = options;
  const vlinder = await connect({ ...connection, agent });
  const stop = new AbortController();
  /** Ends of turns are heard until the last one is done: it may be waiting for just that. */
  const done = new AbortController();
  const running = new Map<string, Turn>();
  /** Turns that are being taken up; whether they have ended meanwhile. */
  const accepting = new Map<string, boolean>();
  const work = new Set<Promise<void>>();

  const one = async (id: string): Promise<void> => {
    accepting.set(id, false);
    let turn: Turn | null;
    let hasEnded: boolean;
    try {
      turn = await vlinder.accept(id);
    } finally {
      hasEnded = accepting.get(id) === true;
      accepting.delete(id);
    }
    // Its end may be told before the reply: the function would never hear of it.
    if (hasEnded || turn === null) return;
    // Nothing is awaited between: announced again just then, it would be accepted a second time, which fails, and seem to have ended.
    running.set(turn.id, turn);
    try {
      await perform(turn, run, onError);
    } finally {
      running.delete(turn.id);
    }
  };
  const take = async (): Promise<void> => {
    for await (const { turn } of vlinder.client.invocations(vlinder.agent, { signal: stop.signal })) {
      // What is announced while there is no room is announced again.
      if (work.size >= concurrency || running.has(turn) || accepting.has(turn)) continue;
      const performed = one(turn)
        .catch(say)
        .finally(() => work.delete(performed));
      work.add(performed);
    }
  };
  const hear = async (): Promise<void> => {
    for await (const { turn, what, reason } of vlinder.client.events(vlinder.agent, "turn", { signal: done.signal })) {
      if (what === "begun") continue;
      running.get(turn)?.abort(reason ?? `the turn was ended: ${what}`);
      if (accepting.has(turn)) accepting.set(turn, true);
    }
  };
  const taken = take()
    .then(() => Promise.all(work))
    .finally(() => done.abort());
  const closed = Promise.all([taken, hear()]).then(() => vlinder.close());
  closed.catch(() => {});
  return {
    vlinder,
    closed,
    close: () => {
      stop.abort();
      return closed;
    },
  };
}

async function perform(
  turn: Turn,
  run: (turn: Turn) => Promise<TurnOutput> | TurnOutput,
  onError: (error: unknown, turn: Turn) => void,
): Promise<void> {
  try {
    await turn.complete(await run(turn));
  } catch (error) {
    // Ended by somebody else, or kept by the daemon with its conflict: there is nothing left to end.
    if (turn.signal.aborted || isEnded(error, turn)) return;
    onError(error, turn);
    await turn.fail(error instanceof Error ? error.message : String(error)).catch(() => {});
  }
}

function isEnded(error: unknown, turn: Turn): boolean {
  return error instanceof VlinderError && error.details["turn"] === turn.id && error.details["branch"] !== undefined;
}

function say(error: unknown): void {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
}
