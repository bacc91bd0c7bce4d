import type { AgentName } from "@vlinder/protocol";
import type { Logger } from "pino";
import type { StateEngine } from "./state/engine.ts";

/** How often agents are looked after, in milliseconds. */
const EVERY = 60 * 60 * 1000;
/** How long after the start for the first time: agents that only start need not wait for it. */
const FIRST = 60 * 1000;

interface Kept {
  readonly name: AgentName;
  readonly engine: StateEngine;
}

/** Looks after agents by itself: collects where retention is declared, lets quarantines end, and watches sizes. */
export class Housekeeper {
  readonly #agents: () => readonly Kept[];
  readonly #log: Logger;
  #timer: NodeJS.Timeout;
  #stopped = false;

  constructor(agents: () => readonly Kept[], log: Logger) {
    this.#agents = agents;
    this.#log = log;
    this.#timer = setTimeout(() => void this.#round(), FIRST).unref();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** One agent after the other, so that they do not all read their histories at once. */
  async #round(): Promise<void> {
    for (const { name, engine } of this.#agents()) {
      if (this.#stopped) return;
      await this.#lookAfter(name, engine);
    }
    if (!this.#stopped) this.#timer = setTimeout(() => void this.#round(), EVERY).unref();
  }

  async #lookAfter(name: AgentName, { retention }: StateEngine): Promise<void> {
    try {
      await retention.tidy();
      if (!(await retention.isDue())) return;
      const { commits, objects, bytes, reclaimed, notes } = await retention.collect(true);
      this.#log.info({ agent: name, dropped: commits.dropped, objects, bytes, reclaimed, notes }, "collected");
    } catch (err) {
      if (!this.#stopped)
        this.#log.warn({ agent: name, err }, "an agent could not be looked after; tried again in an hour");
    }
  }
}
