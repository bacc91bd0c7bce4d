import type { Commit, Hash } from "@vlinder/protocol";
import { Heap } from "./heap.ts";

/** Reads a commit, or null when it is not here. */
export type FindCommit = (hash: Hash) => Promise<Commit | null>;

/** A time that sorts before every real one: the first commits have none. */
export function timeOf(commit: Commit): string {
  return commit.time ?? "";
}

/** Newer is the greater (time, hash). */
export function isNewer(a: { time: string; hash: Hash }, b: { time: string; hash: Hash }): boolean {
  return a.time === b.time ? a.hash > b.hash : a.time > b.time;
}

const LEFT = 1;
const RIGHT = 2;
const BELOW = 4;

/** What of a commit the walks need; a long history is held in this form. */
interface Link {
  readonly hash: Hash;
  readonly time: string;
  readonly parents: readonly Hash[];
}

/**
 * Colours history downwards from sets of commits, newest first. Since a commit is never older than
 * its parents, what is still open can't recolour anything newer than itself: the walk ends when
 * nothing open matters and all of it is older than everything that mattered.
 */
class Painting {
  readonly colours = new Map<Hash, number>();
  readonly links = new Map<Hash, Link>();
  readonly #find: FindCommit;
  /** Whether a commit of this colour is, or may lead to, a part of the answer. */
  readonly #matters: (colour: number) => boolean;
  readonly #open = new Heap<Link>(isNewer);
  readonly #isOpen = new Set<Hash>();
  #openThatMatter = 0;

  constructor(find: FindCommit, matters: (colour: number) => boolean) {
    this.#find = find;
    this.#matters = matters;
  }

  async add(hash: Hash, colour: number): Promise<void> {
    const old = this.colours.get(hash) ?? 0;
    const now = old | colour;
    if (now === old) return;
    let link = this.links.get(hash);
    if (link === undefined) {
      const commit = await this.#find(hash);
      if (commit === null) return;
      link = { hash, time: timeOf(commit), parents: commit.parents };
      this.links.set(hash, link);
    }
    this.colours.set(hash, now);
    if (this.#isOpen.has(hash)) {
      if (this.#matters(old)) this.#openThatMatter--;
    } else {
      this.#isOpen.add(hash);
      this.#open.push(link);
    }
    if (this.#matters(now)) this.#openThatMatter++;
  }

  /** @param spreads the colour that a commit gives to its parents */
  async run(spreads: (colour: number) => number): Promise<void> {
    let oldest: string | null = null;
    for (let link = this.#open.peek(); link !== undefined; link = this.#open.peek()) {
      if (this.#openThatMatter === 0 && (oldest === null || link.time < oldest)) return;
      this.#open.pop();
      this.#isOpen.delete(link.hash);
      const colour = this.colours.get(link.hash) as number;
      if (this.#matters(colour)) {
        this.#openThatMatter--;
        oldest = link.time;
      }
      for (const parent of link.parents) await this.add(parent, spreads(colour));
    }
  }
}

/** Commits that both sides reach and that no other such commit reaches, in hash order. */
export async function commonAncestors(
  find: FindCommit,
  left: readonly Hash[],
  right: readonly Hash[],
): Promise<Hash[]> {
  const painting = new Painting(find, (colour) => (colour & BELOW) === 0);
  for (const hash of left) await painting.add(hash, LEFT);
  for (const hash of right) await painting.add(hash, RIGHT);
  const common = LEFT | RIGHT;
  await painting.run((colour) => ((colour & common) === common ? common | BELOW : colour));
  return [...painting.colours]
    .filter(([, colour]) => colour === common)
    .map(([hash]) => hash)
    .sort();
}

/** Whether `ancestor` is reachable from `commit`, or is it. */
export async function isAncestor(find: FindCommit, ancestor: Hash, commit: Hash): Promise<boolean> {
  if (ancestor === commit) return true;
  const base = await find(ancestor);
  if (base === null) return false;
  const floor = timeOf(base);
  const seen = new Set<Hash>([commit]);
  const open = [commit];
  for (let hash = open.pop(); hash !== undefined; hash = open.pop()) {
    const child = await find(hash);
    if (child === null || timeOf(child) < floor) continue;
    for (const parent of child.parents) {
      if (parent === ancestor) return true;
      if (!seen.has(parent)) {
        seen.add(parent);
        open.push(parent);
      }
    }
  }
  return false;
}

/** Commits reachable from `heads` and not from `bases`, parents before children. Bases that are not here are ignored. */
export async function commitsBetween(
  find: FindCommit,
  heads: readonly Hash[],
  bases: readonly Hash[],
): Promise<Hash[]> {
  const painting = new Painting(find, (colour) => colour === LEFT);
  for (const hash of bases) await painting.add(hash, RIGHT);
  for (const hash of heads) await painting.add(hash, LEFT);
  await painting.run((colour) => colour);
  const { colours, links } = painting;
  const wanted = (hash: Hash): boolean => colours.get(hash) === LEFT;
  // Depth first, a commit after its parents; by hand, since histories are deeper than the stack.
  const order: Hash[] = [];
  const done = new Set<Hash>();
  for (const head of [...new Set(heads)].filter(wanted).sort()) {
    const stack: { hash: Hash; next: number }[] = [{ hash: head, next: 0 }];
    for (let step = stack.at(-1); step !== undefined; step = stack.at(-1)) {
      const parent = (links.get(step.hash) as Link).parents[step.next++];
      if (parent === undefined || done.has(step.hash)) {
        stack.pop();
        if (!done.has(step.hash)) order.push(step.hash);
        done.add(step.hash);
      } else if (wanted(parent) && !done.has(parent)) {
        stack.push({ hash: parent, next: 0 });
      }
    }
  }
  return order;
}
