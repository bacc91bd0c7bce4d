import type { Hash } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { BranchConflict, type BranchMove, type ObjectStorage } from "../object-storage.ts";
import { hashOf, object, text, TIME, transaction } from "./samples.ts";

const MAIN = hashOf("main");
const [A, B] = [hashOf("commit a"), hashOf("commit b")];
const move = (expected: Hash | null, next: Hash | null, rest: Partial<BranchMove> = {}): BranchMove => {
  return { id: MAIN, name: "main", expected, next, why: "test", time: TIME, ...rest };
};

/** What a storage promises of what stays on the machine: moves in order, notes, and space that is given back. */
export function localConformance(storage: () => ObjectStorage): void {
  test("gives moves in their order, a page at a time", async () => {
    const side = hashOf("side");
    await storage().apply(
      transaction({ branches: [move(null, A), { ...move(null, A), id: side, name: "side", why: "fork" }] }),
    );
    await storage().apply(transaction({ branches: [move(A, B)] }));
    await storage().apply(transaction({ branches: [move(B, null, { why: "gone" })] }));
    const all = (await storage().reflog(null, 10)).toReversed();
    expect(await storage().moves(0, 10)).toEqual({ entries: all, next: null });
    const first = await storage().moves(0, 3);
    expect(first.entries).toEqual(all.slice(0, 3));
    expect(await storage().moves(first.next ?? 0, 3)).toEqual({ entries: all.slice(3), next: null });
    expect((await storage().moves(0, 4)).next).toBe(null);
  });

  test("keeps notes by name, in the transaction that brings them", async () => {
    const note = (name: string, words: string | null) => ({ name, bytes: words === null ? null : text(words) });
    const notes = async (prefix: string): Promise<[string, string][]> => {
      return (await storage().notes(prefix)).map(({ name, bytes }) => [name, Buffer.from(bytes).toString()]);
    };
    expect(await notes("")).toEqual([]);
    await storage().apply(
      transaction({ notes: [note("b/2", "two"), note("a", ""), note("b/1", "one"), note("bü", "x")] }),
    );
    expect(await notes("b/")).toEqual([
      ["b/1", "one"],
      ["b/2", "two"],
    ]);
    await storage().apply(transaction({ notes: [note("b/1", "other"), note("b/2", null), note("none", null)] }));
    expect(await notes("")).toEqual([
      ["a", ""],
      ["b/1", "other"],
      ["bü", "x"],
    ]);
    const refused = storage().apply(transaction({ notes: [note("a", "changed")], branches: [move(A, B)] }));
    await expect(refused).rejects.toBeInstanceOf(BranchConflict);
    expect(await notes("a")).toEqual([["a", ""]]);
  });

  test("names every object of a kind once, with what it takes, whatever is removed meanwhile", async () => {
    const all = Array.from({ length: 3000 }, (_, index) => object(`value ${index}`));
    for (let at = 0; at < all.length; at += 300) {
      await storage().apply(transaction({ objects: all.slice(at, at + 300) }));
    }
    await storage().apply(transaction({ objects: [object("of another kind", "node")] }));
    const sizes = new Map(all.map(({ hash, bytes }) => [hash, bytes.length]));
    const seen = new Set<Hash>();
    for await (const names of storage().names("value")) {
      for (const { hash, size } of names) {
        expect(seen.has(hash)).toBe(false);
        expect(size).toBeGreaterThan(0);
        expect(size).toBeLessThanOrEqual(sizes.get(hash) ?? 0);
        seen.add(hash);
      }
      await storage().remove(
        "value",
        names.map(({ hash }) => hash),
      );
    }
    expect(seen.size).toBe(all.length);
    for await (const names of storage().names("value")) expect(names).toEqual([]);
  });

  test("gives back space, until there is no more", async () => {
    const all = Array.from({ length: 300 }, (_, index) => object(`${index} ${"x".repeat(10_000)}`));
    await storage().apply(transaction({ objects: all }));
    await storage().remove(
      "value",
      all.slice(10).map(({ hash }) => hash),
    );
    for (let steps = 0; (await storage().reclaim(500_000)) > 0; steps++) expect(steps).toBeLessThan(50);
    expect(await storage().reclaim(500_000)).toBe(0);
    for (const { hash, bytes } of await storage().scan("value", null, 20)) expect(hashOf(bytes)).toBe(hash);
    expect((await storage().usage()).counts.value).toBe(10);
  });
}
