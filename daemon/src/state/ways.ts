import type { Hash } from "@vlinder/protocol";

/** Weight of all ways together; a usual commit has 330 bytes. */
const REMEMBERED = 2_000_000;
/** What a commit takes besides its text. */
const BESIDES = 200;

/** A commit that was stepped over. */
export interface Step {
  readonly commit: Hash;
  /** Its bytes, a character each. */
  readonly text: string;
}

/** Commits one after another, newest first, each the only parent of the one before. True for good. */
interface Way {
  readonly commits: readonly Hash[];
  /** Their texts, one behind another. */
  readonly text: string;
  /** Where each begins. */
  readonly starts: readonly number[];
  /** What comes behind them. */
  readonly end: Hash;
  /** The snapshot of the end, when its trees were stored; null: they were not, or nobody looked. */
  readonly snapshot: Hash | null;
}

/** How far a way leads. */
export interface Passage {
  /** The first commit that names the key, or the way's end. */
  readonly to: Hash;
  readonly names: boolean;
  /** Of the end. */
  readonly snapshot: Hash | null;
}

/** Ways to stored trees that were gone lately: who looks into the past looks at more than one commit there. */
export class Ways {
  /** By each of their commits, and by their ends where trees were stored. */
  readonly #ways = new Map<Hash, Way>();
  /** As they were gone. */
  readonly #order: Way[] = [];
  #weight = 0;

  /** Whether something is known of what comes behind a commit. */
  has(commit: Hash): boolean {
    return this.#ways.has(commit);
  }

  /** How far who looks for a key comes from a commit; null: nothing is known. @param key as `keyInCommit` has it */
  from(commit: Hash, key: string): Passage | null {
    const way = this.#ways.get(commit);
    if (way === undefined) return null;
    const { commits, starts, text, end, snapshot } = way;
    const first = commit === end ? commits.length : commits.indexOf(commit);
    const at = text.indexOf(key, starts[first] ?? text.length);
    if (at < 0) return { to: end, names: false, snapshot };
    return { to: commits[starts.findLastIndex((start) => start <= at)] as Hash, names: true, snapshot: null };
  }

  add(steps: readonly Step[], end: Hash, snapshot: Hash | null): void {
    if (steps.length === 0 && snapshot === null) return;
    const starts: number[] = [];
    let text = "";
    for (const step of steps) {
      starts.push(text.length);
      text += step.text;
    }
    const way = { commits: steps.map(({ commit }) => commit), text, starts, end, snapshot };
    for (const commit of placesOf(way)) this.#ways.set(commit, way);
    this.#order.push(way);
    this.#weight += weightOf(way);
    while (this.#weight > REMEMBERED) this.#remove(this.#order[0] as Way);
  }

  /** The trees that a way from there led to are gone: those of another commit may be stored now. */
  drop(commit: Hash): void {
    const way = this.#ways.get(commit);
    if (way !== undefined) this.#remove(way);
  }

  #remove(way: Way): void {
    this.#order.splice(this.#order.indexOf(way), 1);
    for (const commit of placesOf(way)) if (this.#ways.get(commit) === way) this.#ways.delete(commit);
    this.#weight -= weightOf(way);
  }
}

function placesOf({ commits, end, snapshot }: Way): readonly Hash[] {
  return snapshot === null ? commits : [...commits, end];
}

function weightOf({ commits, text }: Way): number {
  return text.length + (commits.length + 1) * BESIDES;
}
