import { type EffectForm, type EffectStatus, type Hash, sha256 } from "@vlinder/protocol";

/** What became of an effect, as somebody said. */
export interface Said {
  readonly status: "done" | "failed" | "not_done";
  readonly by: "agent" | "person";
  readonly commit: Hash;
  readonly time: string;
  /** The commits that began it, of which this is said. */
  readonly attempts: readonly Hash[];
  readonly result: { readonly hash: Hash; readonly size: number; readonly form: EffectForm } | null;
  /** Why its result was not kept. */
  readonly lost: string | null;
  readonly error: string | null;
}

/** One time that it was begun. */
export interface Attempt {
  readonly begun: Hash;
  readonly turn: string;
  readonly time: string;
}

/** Something that is to happen in the outside world once: all that is recorded of it. */
export interface Effect {
  readonly effect: string;
  readonly key: string;
  readonly attempts: Map<Hash, Attempt>;
  readonly said: Map<Hash, Said>;
}

/** What all that is recorded comes to. */
export interface Standing {
  readonly status: EffectStatus;
  /** Null: nobody has said anything that counts. */
  readonly said: Said | null;
  readonly last: Attempt;
  /** Attempts of which nobody has said anything. */
  readonly unanswered: readonly Attempt[];
}

/**
 * The name of an effect: the same in a turn and in all that do it again, on every machine. So it is good as the key under
 * which a payment service knows a request that is repeated.
 * @param first the turn that was the first to be done
 */
export function effectId(first: string, key: string): string {
  return `e-${sha256(`${first}\n${key}`).slice(0, 24)}`;
}

/**
 * Judged from what is recorded, in whatever order it came here. What one says was done was done, whatever others say: to
 * be wrong about that is worse than the other way round.
 */
export function standing({ attempts, said }: Effect, isOpen: (turn: string) => boolean): Standing | null {
  const all = [...attempts.values()].sort((a, b) => order(a, b) || (a.begun < b.begun ? -1 : 1));
  const last = all.at(-1);
  if (last === undefined) return null;
  const words = [...said.values()].sort((a, b) => order(a, b) || (a.commit < b.commit ? -1 : 1));
  const unanswered = all.filter(({ begun }) => !words.some((word) => word.attempts.includes(begun)));
  const done = words.filter(({ status }) => status === "done");
  const best = done.find(({ lost }) => lost === null) ?? done[0];
  if (best !== undefined) return { status: "done", said: best, last, unanswered };
  if (unanswered.length > 0) {
    const isRunning = unanswered.some(({ turn }) => isOpen(turn));
    return { status: isRunning ? "running" : "unknown", said: null, last, unanswered };
  }
  const word = words.findLast((one) => one.attempts.includes(last.begun)) as Said;
  return { status: word.status, said: word, last, unanswered };
}

function order(a: { readonly time: string }, b: { readonly time: string }): number {
  if (a.time === b.time) return 0;
  return a.time < b.time ? -1 : 1;
}

/** What a word says, in one text: the same for the same. */
export function wordText({ status, result, lost, error }: Pick<Said, "status" | "result" | "lost" | "error">): string {
  return JSON.stringify([status, result?.hash ?? null, result?.form ?? null, lost, error]);
}
