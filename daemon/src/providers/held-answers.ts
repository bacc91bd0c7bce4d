import { type AgentName, VlinderError } from "@vlinder/protocol";

/** Bytes of answers that are in memory at the same time: of all agents, and of one, so that none takes all there is. */
const MOST = 256 * 1024 * 1024;
const MOST_OF_ONE = MOST / 2;

/** How much of providers' answers is in memory, until it is recorded. */
export class HeldAnswers {
  readonly #held = new Map<AgentName, number>();
  #all = 0;

  /** @throws unavailable: there is no room */
  take(agent: AgentName, bytes: number): void {
    const held = this.#held.get(agent) ?? 0;
    if (held + bytes > MOST_OF_ONE) throw tooMuch(`of the agent "${agent}" `, MOST_OF_ONE);
    if (this.#all + bytes > MOST) throw tooMuch("", MOST);
    this.#held.set(agent, held + bytes);
    this.#all += bytes;
  }

  give(agent: AgentName, bytes: number): void {
    const held = (this.#held.get(agent) ?? 0) - bytes;
    if (held === 0) this.#held.delete(agent);
    else this.#held.set(agent, held);
    this.#all -= bytes;
  }
}

function tooMuch(whose: string, limit: number): VlinderError {
  return new VlinderError("unavailable", `answers ${whose}of more than ${limit} bytes are on their way`, {
    details: { limit },
    remedy: "try again when others are done",
  });
}
