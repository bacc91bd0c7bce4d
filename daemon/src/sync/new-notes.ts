import type { AgentName } from "@vlinder/protocol";

/** Of an agent that finds new ones all the time; then it begins anew. */
const MOST = 1000;

/** What the log said before: a note that each pull finds again is said once. */
export class NewNotes {
  readonly #said = new Map<AgentName | null, Set<string>>();

  /** Those of them that are new. @param agent null: of the bucket */
  of(agent: AgentName | null, notes: readonly string[]): string[] {
    const said = this.#said.get(agent) ?? new Set();
    const fresh = notes.filter((note) => !said.has(note));
    if (said.size + fresh.length > MOST) said.clear();
    for (const note of fresh) said.add(note);
    this.#said.set(agent, said);
    return fresh;
  }
}
