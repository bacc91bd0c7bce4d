import { type AgentName, LIMITS, VlinderError } from "@vlinder/protocol";
import { CallWindow } from "./call-window.ts";

/** After a stop was told to calls under way: until they are recorded, in milliseconds. */
const LAST_WAIT = 2_000;

/** A call that is under way. */
export interface OpenCall {
  readonly signal: AbortSignal;
  /** Null: its answer comes in one piece. */
  readonly window: CallWindow | null;
}

interface Held extends OpenCall {
  readonly controller: AbortController;
  readonly agent: AgentName;
}

/** The calls that are under way, by agent and by the name that the caller gave them. */
export class OpenCalls {
  readonly #open = new Set<Held>();
  readonly #named = new Map<string, Held>();
  readonly #working = new Set<Promise<unknown>>();

  /**
   * Does work that belongs to a call, for as long as it is open.
   * @throws unavailable: too many; conflict: the name is another call's; what the work throws
   */
  async run<T>(
    agent: AgentName,
    { name, streamed, outer }: { readonly name: string | undefined; streamed: boolean; outer: AbortSignal | null },
    work: (call: OpenCall) => Promise<T>,
  ): Promise<T> {
    const key = name === undefined ? null : `${agent} ${name}`;
    this.#admit(agent, key, name);
    const controller = new AbortController();
    const abort = (reason: unknown): void => {
      controller.abort(reason);
      held.window?.close();
    };
    const held: Held = {
      controller,
      signal: controller.signal,
      agent,
      window: streamed ? new CallWindow(abort) : null,
    };
    const end = (): void => abort(outer?.reason);
    outer?.addEventListener("abort", end);
    if (outer?.aborted === true) end();
    this.#open.add(held);
    if (key !== null) this.#named.set(key, held);
    const working = work(held);
    this.#working.add(working);
    try {
      return await working;
    } finally {
      outer?.removeEventListener("abort", end);
      held.window?.close();
      this.#working.delete(working);
      this.#open.delete(held);
      if (key !== null) this.#named.delete(key);
    }
  }

  /** Whether there is such a call. */
  acknowledge(agent: AgentName, name: string, received: number, cancel: boolean): boolean {
    const held = this.#named.get(`${agent} ${name}`);
    if (held === undefined) return false;
    held.window?.acknowledge(received);
    if (cancel) this.#breakOff(held, cancelled());
    return true;
  }

  /** Breaks off what is under way, and waits until it is recorded, within a bound. */
  async close(): Promise<void> {
    for (const held of this.#open) this.#breakOff(held, stopping());
    const deadline = new Promise<void>((resolve) => setTimeout(resolve, LAST_WAIT).unref());
    await Promise.race([Promise.allSettled(this.#working), deadline]);
  }

  #breakOff({ controller, window }: Held, reason: VlinderError): void {
    controller.abort(reason);
    window?.close();
  }

  #admit(agent: AgentName, key: string | null, name: string | undefined): void {
    if (key !== null && this.#named.has(key)) {
      throw new VlinderError("conflict", `a call "${name}" is under way`, {
        details: { call: name },
        remedy: "make a new name for each call",
      });
    }
    let count = 0;
    for (const held of this.#open) if (held.agent === agent) count++;
    if (count < LIMITS.calls) return;
    throw new VlinderError("unavailable", `the agent "${agent}" has ${count} calls under way`, {
      details: { limit: LIMITS.calls },
      remedy: "wait for one of them, and try again",
    });
  }
}

function cancelled(): VlinderError {
  return new VlinderError("unavailable", "the call was broken off, as its caller asked", { retryable: false });
}

function stopping(): VlinderError {
  return new VlinderError("unavailable", "the call was broken off: the daemon is stopping", {
    remedy: "ask again when it is up",
  });
}
