import type { Hash } from "@vlinder/protocol";
import { green, red, yellow } from "./color.ts";
import type { Span } from "./text.ts";

/** What the graph needs of a commit. */
export interface GraphCommit {
  readonly hash: Hash;
  readonly parents: readonly Hash[];
  readonly time: string | null;
}

/** What is drawn beside a commit, and the lines above and below it. */
export interface GraphRow {
  readonly above: readonly Graph[];
  readonly beside: Graph;
  readonly below: readonly Graph[];
}
export type Graph = readonly Span[];

const TINTS = [red, green, yellow] as const;

/**
 * Draws history newest first, a commit at a time: each lane is a line of commits on its way down to the next one. It
 * remembers a commit for each lane, and those of the last moment, however long the history is.
 */
export class GraphLanes {
  /** The commit that a lane leads to; null: the place is free. */
  readonly #lanes: (Hash | null)[] = [];
  /** Commits of one moment may come behind a parent that has the same time. */
  readonly #drawn = new Set<Hash>();
  #time: string | null = null;

  next({ hash, parents, time }: GraphCommit): GraphRow {
    if (time !== this.#time) this.#drawn.clear();
    this.#time = time;
    this.#drawn.add(hash);
    const [first, ...joining] = [...this.#lanes.keys()].filter((lane) => this.#lanes[lane] === hash);
    const lane = first ?? this.#free(0);
    this.#lanes[lane] = hash;
    const above = joining.length === 0 ? [] : [this.#line(lane, joining, "end")];
    for (const other of joining) this.#lanes[other] = null;
    const beside = this.#commit(lane);
    const [straight = null, aside = null] = parents.filter((parent) => !this.#drawn.has(parent));
    this.#lanes[lane] = straight;
    const below = aside === null ? [] : [this.#branchOff(lane, aside)];
    while (this.#lanes.at(-1) === null) this.#lanes.pop();
    return { above, beside, below };
  }

  /** The first free place from here on. */
  #free(from: number): number {
    let lane = from;
    while (this.#lanes[lane] != null) lane++;
    for (let i = this.#lanes.length; i < lane; i++) this.#lanes[i] = null;
    return lane;
  }

  /** A second parent goes to the lane that leads to it, else to a new one at the right. */
  #branchOff(lane: number, parent: Hash): Graph {
    const there = this.#lanes.indexOf(parent);
    if (there >= 0 && there !== lane) return this.#line(lane, [there], "pass");
    const free = this.#free(lane + 1);
    const drawn = this.#line(lane, [free], "begin");
    this.#lanes[free] = parent;
    return drawn;
  }

  #commit(at: number): Graph {
    return this.#lanes.map((hash, lane) => tint(lane, lane === at ? "● " : hash === null ? "  " : "│ "));
  }

  /** A line across from one lane to others, which end there, begin there, or pass. */
  #line(lane: number, others: readonly number[], how: "end" | "begin" | "pass"): Graph {
    const [left, right] = [Math.min(lane, ...others), Math.max(lane, ...others)];
    const corner = { end: "╯", begin: "╮", pass: "┤" }[how];
    const row: Span[] = [];
    for (let at = 0; at < Math.max(this.#lanes.length, right + 1); at++) {
      const isTaken = this.#lanes[at] != null;
      let mark = isTaken ? "│" : " ";
      if (at === left) mark = "├";
      else if (at === right) mark = right === lane ? "┤" : corner;
      else if (at > left && at < right) mark = others.includes(at) ? "┴" : isTaken ? "┼" : "─";
      row.push(tint(at === lane ? (others[0] as number) : at, mark + (at >= left && at < right ? "─" : " ")));
    }
    return row;
  }
}

function tint(lane: number, text: string): Span {
  return (TINTS[lane % TINTS.length] as (typeof TINTS)[number])(text);
}
