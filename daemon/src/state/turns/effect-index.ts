import { type Commit, type Hash, isHash } from "@vlinder/protocol";
import type { Attempt, Effect, Said } from "./effect.ts";

const WORDS: readonly unknown[] = ["done", "failed", "not_done"] satisfies Said["status"][];

/** Effects of an agent, in memory, as the `effect` commits tell that are here; a commit of another form says nothing. */
export class EffectIndex {
  readonly #effects = new Map<string, Effect>();
  readonly #byBegun = new Map<Hash, Effect>();

  /** An `effect` commit is here; more than once is fine. */
  met(hash: Hash, { event, turn, time = "" }: Pick<Commit, "event" | "turn" | "time">): void {
    const { effect: id, key, status } = event.info ?? {};
    if (turn === undefined || typeof id !== "string" || typeof key !== "string") return;
    if (!/^e-[0-9a-f]{24}$/.test(id)) return;
    if (status === "begun") {
      const effect = this.#effect(id, key);
      const attempt: Attempt = { begun: hash, turn, time };
      effect.attempts.set(hash, attempt);
      this.#byBegun.set(hash, effect);
    } else if (WORDS.includes(status)) {
      this.#effect(id, key).said.set(hash, saidBy(hash, event, time));
    }
  }

  find(id: string): Effect | null {
    return this.#effects.get(id) ?? null;
  }

  /** The effect that a commit began. */
  begunBy(begun: Hash): { readonly effect: Effect; readonly attempt: Attempt } | null {
    const effect = this.#byBegun.get(begun);
    const attempt = effect?.attempts.get(begun);
    return effect === undefined || attempt === undefined ? null : { effect, attempt };
  }

  withPrefix(prefix: string): Effect[] {
    const exact = this.#effects.get(prefix);
    if (exact !== undefined) return [exact];
    return [...this.#effects.values()].filter(({ effect }) => effect.startsWith(prefix));
  }

  all(): Iterable<Effect> {
    return this.#effects.values();
  }

  #effect(id: string, key: string): Effect {
    const known = this.#effects.get(id);
    if (known !== undefined) return known;
    const effect: Effect = { effect: id, key, attempts: new Map(), said: new Map() };
    this.#effects.set(id, effect);
    return effect;
  }
}

function saidBy(commit: Hash, { info = {}, values }: Commit["event"], time: string): Said {
  const { status, by, attempts, form, lost, error } = info;
  const result = values?.["result"];
  return {
    status: status as Said["status"],
    by: by === "person" ? "person" : "agent",
    commit,
    time,
    attempts: Array.isArray(attempts) ? attempts.filter(isHash) : [],
    result:
      result === undefined ? null : { hash: result[0], size: result[1], form: form === "bytes" ? "bytes" : "json" },
    lost: typeof lost === "string" ? lost : null,
    error: typeof error === "string" ? error : null,
  };
}
