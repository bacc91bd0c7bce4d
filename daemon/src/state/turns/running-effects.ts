import type { Hash } from "@vlinder/protocol";

/** An effect that this turn began. */
export interface RunningEffect {
  readonly effect: string;
  readonly key: string;
  /** The commit that says that it was begun. */
  readonly begun: Hash;
  /** Of the request that is to do it. */
  id: string | undefined;
  /** Whether anybody was told to do it: before, nobody can have. */
  told: boolean;
  /** What became of it, and the commit that says so, which may not be stored yet. */
  word: { readonly text: string; readonly commit: Hash } | null;
}

/** Effects that an open turn began: who asked, and which are under way. */
export class RunningEffects {
  /** Of each effect the last time. */
  readonly #last = new Map<string, RunningEffect>();
  readonly #asked = new Map<string, RunningEffect>();

  add(running: RunningEffect): RunningEffect {
    this.#last.set(running.effect, running);
    return running;
  }

  /** A request, by its id, is to do it. */
  tell(running: RunningEffect, id: string | undefined): void {
    running.told = true;
    running.id = id;
    if (id !== undefined) this.#asked.set(id, running);
  }

  last(effect: string): RunningEffect | null {
    return this.#last.get(effect) ?? null;
  }

  asked(id: string | undefined): RunningEffect | null {
    return id === undefined ? null : (this.#asked.get(id) ?? null);
  }

  /** One that nobody has said the end of; null: there is none. */
  running(): RunningEffect | null {
    for (const one of this.#last.values()) if (one.word === null) return one;
    return null;
  }
}
