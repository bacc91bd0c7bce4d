import fc from "fast-check";
import { type AgentName, type Commit, type Hash, sha256 } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { commitsBetween, commonAncestors, isAncestor } from "../../src/state/ancestry.ts";
import { Lineage } from "../../src/state/lineage.ts";
import { holds } from "./property.ts";

/** History as numbers: each commit has up to two parents before it, and is as late as the later one or a bit later. */
const node = fc.record({ parents: fc.array(fc.nat(), { maxLength: 2 }), later: fc.constantFrom(0, 0, 0, 1) });
const picks = fc.array(fc.nat(), { minLength: 1, maxLength: 3 });

class Dag {
  readonly hashes: Hash[] = [];
  readonly #commits = new Map<Hash, Commit>();
  readonly #reach = new Map<Hash, Set<Hash>>();

  constructor(nodes: readonly { parents: readonly number[]; later: number }[], salt: number) {
    for (const [i, { parents, later }] of nodes.entries()) {
      // Hashes come in any order, so that with equal times a parent may sort after its child.
      const hash = sha256(`${salt} ${i}`);
      const above = i === 0 ? [] : [...new Set(parents.map((p) => this.hashes[p % i] as Hash))];
      const times = above.map((parent) => Number((this.#commits.get(parent) as Commit).time));
      const time = String(Math.max(1000, ...times) + later);
      const event = { kind: "kv.put" } as const;
      this.#commits.set(hash, { v: 1, agent: "todo" as AgentName, parents: above, snapshot: hash, event, time });
      this.#reach.set(hash, new Set([hash, ...above.flatMap((parent) => [...this.reach(parent)])]));
      this.hashes.push(hash);
    }
  }

  find = async (hash: Hash): Promise<Commit | null> => this.#commits.get(hash) ?? null;
  parents(hash: Hash): readonly Hash[] {
    return (this.#commits.get(hash) as Commit).parents;
  }
  /** The commit and all its ancestors. */
  reach(hash: Hash): Set<Hash> {
    return this.#reach.get(hash) as Set<Hash>;
  }
  reachOf(hashes: readonly Hash[]): Set<Hash> {
    return new Set(hashes.flatMap((hash) => [...this.reach(hash)]));
  }
  pick(numbers: readonly number[]): Hash[] {
    return numbers.map((n) => this.hashes[n % this.hashes.length] as Hash);
  }
}

const dag = fc
  .tuple(fc.array(node, { minLength: 1, maxLength: 30, size: "max" }), fc.nat())
  .map(([nodes, salt]) => new Dag(nodes, salt));

describe("ancestry in random histories with equal times, against brute force", () => {
  test("common ancestors that no other one reaches", async () => {
    await holds(
      "common ancestors",
      fc.asyncProperty(dag, picks, picks, async (history, l, r) => {
        const [left, right] = [history.pick(l), history.pick(r)];
        const others = history.reachOf(right);
        const common = [...history.reachOf(left)].filter((hash) => others.has(hash));
        const best = common.filter((hash) => !common.some((other) => other !== hash && history.reach(other).has(hash)));
        expect(await commonAncestors(history.find, left, right)).toEqual(best.sort());
      }),
      600,
    );
  });

  test("commits between, parents first", async () => {
    await holds(
      "commits between",
      fc.asyncProperty(dag, picks, fc.array(fc.nat(), { maxLength: 3 }), async (history, h, b) => {
        const [heads, bases] = [history.pick(h), history.pick(b)];
        const found = await commitsBetween(history.find, heads, [...bases, sha256("unknown")]);
        const known = history.reachOf(bases);
        expect([...found].sort()).toEqual([...history.reachOf(heads)].filter((hash) => !known.has(hash)).sort());
        const seen = new Set(known);
        for (const hash of found) {
          for (const parent of history.parents(hash)) expect(seen).toContain(parent);
          seen.add(hash);
        }
      }),
      600,
    );
  });

  test("who is whose ancestor", async () => {
    await holds(
      "is ancestor",
      fc.asyncProperty(dag, fc.nat(), fc.nat(), async (history, x, y) => {
        const [a, b] = history.pick([x, y]) as [Hash, Hash];
        expect(await isAncestor(history.find, a, b)).toBe(history.reach(b).has(a));
      }),
      600,
    );
  });

  test("what a commit has in its history, asked one after the other in any order", async () => {
    await holds(
      "lineage",
      fc.asyncProperty(dag, fc.nat(), fc.array(fc.nat(), { maxLength: 20 }), async (history, h, asked) => {
        const [head] = history.pick([h]) as [Hash];
        const lineage = await Lineage.of(history.find, head);
        for (const hash of [...history.pick(asked), sha256("unknown")]) {
          expect(await lineage.has(hash)).toBe(history.reach(head).has(hash));
        }
      }),
      600,
    );
  });

  test("a deep history does not overflow the stack", async () => {
    const history = new Map<Hash, Commit>();
    const hash = (i: number): Hash => sha256(`deep ${i}`);
    for (let i = 0; i < 20_000; i++) {
      const parents = i === 0 ? [] : [hash(i - 1)];
      history.set(hash(i), {
        v: 1,
        agent: "todo" as AgentName,
        parents,
        snapshot: hash(i),
        event: { kind: "kv.put" },
        time: "1",
      });
    }
    const find = async (wanted: Hash): Promise<Commit | null> => history.get(wanted) ?? null;
    expect(await isAncestor(find, hash(0), hash(19_999))).toBe(true);
    expect(await commitsBetween(find, [hash(19_999)], [])).toHaveLength(20_000);
    expect(await commonAncestors(find, [hash(19_999)], [hash(0)])).toEqual([hash(0)]);
  });
});
