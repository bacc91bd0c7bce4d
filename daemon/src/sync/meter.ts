import type { AgentName, Progress } from "@vlinder/protocol";

/** Puts what is done for each of several agents together, so that one number goes up from nothing to all. */
export class Meter {
  readonly #tell: (progress: Progress) => void;
  readonly #done = new Map<AgentName, number>();
  readonly #expected = new Map<AgentName, number>();

  constructor(tell: (progress: Progress) => void) {
    this.#tell = tell;
  }

  /** So many bytes are to be done for an agent; before anything is. Where that is told of none, the total stays unknown. */
  expect(agent: AgentName, bytes: number): void {
    this.#expected.set(agent, bytes);
  }

  /** `doing` names it: "pulling", "pushing". */
  of(agent: AgentName, doing: string): (bytes: number) => void {
    return (bytes) => {
      this.#done.set(agent, bytes);
      const done = sum(this.#done);
      // What was expected is an estimate: an agent that needs more must not look as if all were done.
      const total = this.#expected.size === 0 ? null : Math.max(done, sum(this.#expected));
      this.#tell({ what: `${doing} ${agent}`, done, total, unit: "bytes" });
    };
  }
}

function sum(numbers: ReadonlyMap<AgentName, number>): number {
  return [...numbers.values()].reduce((all, one) => all + one, 0);
}
