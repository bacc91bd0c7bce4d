import { type AgentName, type Commit, type Hash, sha256 } from "@vlinder/protocol";
import { expect, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import type { TurnItem } from "../../src/state/turns/turn-index.ts";
import { turnsBefore } from "../../src/turns/turn-item.ts";

const COMMITS = 4000;
const hashOf = (line: string, n: number): Hash => sha256(`${line} ${n}`);

/** Two lines of commits from one root, and how often a commit is looked for. */
class Lines {
  finds = 0;
  readonly #commits = new Map<Hash, Commit>();

  constructor() {
    for (const line of ["a", "b"]) {
      for (let n = 1; n <= COMMITS; n++) {
        const parents = [n === 1 ? sha256("root") : hashOf(line, n - 1)];
        this.#commits.set(hashOf(line, n), commit(parents, n));
      }
    }
    this.#commits.set(sha256("root"), commit([], 0));
  }

  readonly findCommit = async (hash: Hash): Promise<Commit | null> => {
    this.finds++;
    return this.#commits.get(hash) ?? null;
  };

  get engine(): StateEngine {
    return this as unknown as StateEngine;
  }
}

function commit(parents: readonly Hash[], n: number): Commit {
  const time = new Date(Date.UTC(2026, 0, 1) + n).toISOString();
  return { v: 1, agent: "todo" as AgentName, parents, snapshot: sha256("s"), event: { kind: "complete" }, time };
}

/** A turn for every second commit of a line, the newest last. */
function turns(line: string): TurnItem[] {
  return Array.from({ length: COMMITS / 2 }, (_, i) => {
    const ended = hashOf(line, 2 * i + 2);
    return { turn: `t-${i}`, kind: "completed", ended } as unknown as TurnItem;
  });
}

test.each([
  ["of the same line, all of them", "a", COMMITS, COMMITS / 2],
  ["of the same line, the newest", "a", 5, 5],
  ["of another line, where none is to be found", "b", COMMITS, 0],
])("earlier turns %s: history is read once, however many turns a session has", async (_what, line, limit, count) => {
  const lines = new Lines();
  const items = turns(line);
  const found = await turnsBefore(lines.engine, items, hashOf("a", COMMITS), limit);
  expect(found).toEqual(items.slice(items.length - count).slice(0, count));
  expect(lines.finds).toBeLessThan(2 * COMMITS);
});
