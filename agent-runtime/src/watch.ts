import { setTimeout as sleep } from "node:timers/promises";
import { type AgentName, type ChangesItem, type Hash, LIMITS, MAIN, VlinderError } from "@vlinder/protocol";
import { backoff } from "./backoff.ts";
import type { Client } from "./client.ts";

/** What one commit changed of the keys that are watched. */
export type Change = Omit<ChangesItem, "more">;

export interface WatchOptions {
  /** A commit that was read: begin with what came after it. Default: the branch as it is when the watch begins. */
  readonly from?: string;
  /** Ends the watch. */
  readonly signal?: AbortSignal;
}

/** An event that got lost (a lost connection, a full buffer) is made up for after so many milliseconds, if no other comes. */
const LOOK_AGAIN = 2_000;

/**
 * Every commit of a branch, from one on, that changes keys with a prefix: in order, none missed, none twice. Events
 * only say when to look; what happened is asked for, from the last commit that was seen. So it goes on over lost
 * connections and restarts, as long as they take.
 */
export async function* watch(
  { client, agent, branch = MAIN }: { readonly client: Client; readonly agent: AgentName; readonly branch?: string },
  prefix: string,
  { from, signal }: WatchOptions,
): AsyncGenerator<Change, void> {
  const ended = new AbortController();
  const stop = (): void => ended.abort();
  signal?.addEventListener("abort", stop);
  if (signal?.aborted === true) stop();
  // Subscribed first: what happens behind the answer of the first question has an event.
  const bell = new Bell(client, agent, branch, ended.signal);
  const ask = <T>(question: () => Promise<T>): Promise<T> => untilAnswered(question, ended.signal);
  try {
    let last: string = from ?? (await ask(() => headOf(client, agent, branch, ended.signal)));
    let rest: Change | null = null;
    for (let after: string | undefined; ;) {
      bell.quiet();
      const request = { from: last, branch, prefix, after, limit: LIMITS.page };
      const reply = await ask(() => client.request(agent, "kv.changes", request, { signal: ended.signal }));
      for (const { more, ...item } of reply.items) {
        rest = rest === null ? item : { ...item, changes: [...rest.changes, ...item.changes] };
        if (more === true) continue;
        yield rest;
        rest = null;
      }
      after = reply.next ?? undefined;
      if (after !== undefined) continue;
      last = reply.state;
      await bell.rings(reply.state, LOOK_AGAIN);
    }
  } catch (error) {
    if (!ended.signal.aborted) throw error;
  } finally {
    signal?.removeEventListener("abort", stop);
    stop();
  }
}

async function headOf(client: Client, agent: AgentName, branch: string, signal: AbortSignal): Promise<Hash> {
  return (await client.request(agent, "kv.list", { branch, limit: 1 }, { signal })).state;
}

/** A daemon that is away comes back: the watch waits for it. */
async function untilAnswered<T>(question: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await question();
    } catch (error) {
      if (!(error instanceof VlinderError && error.retryable)) throw error;
      await sleep(backoff(attempt), undefined, { signal });
    }
  }
}

/** Rings when a branch has moved. Events are not kept, however many come while nobody listens. */
class Bell {
  private newest: Hash | null | undefined;
  private failure: { readonly error: unknown } | null = null;
  private wake: () => void = () => {};

  constructor(client: Client, agent: AgentName, branch: string, signal: AbortSignal) {
    signal.addEventListener("abort", () => this.wake());
    void this.listen(client, agent, branch, signal);
  }

  /** What rang before was heard. */
  quiet(): void {
    this.newest = undefined;
  }

  /** Returns when the branch is elsewhere, or after a time. @throws denied, when the events may not be heard */
  async rings(state: Hash, timeout: number): Promise<void> {
    if (this.failure === null && (this.newest === undefined || this.newest === state)) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
        timer = setTimeout(resolve, timeout);
      });
      clearTimeout(timer);
    }
    if (this.failure !== null) throw this.failure.error;
  }

  private async listen(client: Client, agent: AgentName, branch: string, signal: AbortSignal): Promise<void> {
    try {
      for await (const event of client.events(agent, "commit", { signal })) {
        if (event.branch !== branch) continue;
        this.newest = event.state;
        this.wake();
      }
    } catch (error) {
      this.failure = { error };
      this.wake();
    }
  }
}
