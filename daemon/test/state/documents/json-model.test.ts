import fc from "fast-check";
import { expect, test } from "vitest";
import { mergeDocuments } from "../../../src/state/documents/document-merge.ts";
import { holds } from "../property.ts";

/**
 * A model of three-way document merge that has nothing of how it is done: a document is the set of its
 * paths with what stands there, a list of different texts is a set with an order, and the merge says for
 * each path alone what becomes of it.
 */
type Doc = null | boolean | number | string | Doc[] | { [name: string]: Doc };

const scalar: fc.Arbitrary<Doc> = fc.constantFrom<Doc>(null, true, false, 0, 1, 2.5, "a", "b");
const names = fc.constantFrom("x", "y", "z", "__proto__", "a/b");

/** Objects and scalars only. */
const tree = fc.letrec<{ doc: Doc; object: Doc }>((tie) => ({
  doc: fc.oneof({ depthSize: "small", withCrossShrink: true }, scalar, tie("object")),
  object: fc.dictionary(names, tie("doc"), { maxKeys: 4, noNullPrototype: false }),
}));

const LEAF = "a scalar: ";
const OBJECT = "an object";

/** What stands at each path: an object, or a scalar. */
function paths(doc: Doc, at = "", into = new Map<string, string>()): Map<string, string> {
  if (typeof doc !== "object" || doc === null) return into.set(at, LEAF + JSON.stringify(doc));
  into.set(at, OBJECT);
  for (const [name, value] of Object.entries(doc)) paths(value as Doc, `${at} ${name}`, into);
  return into;
}

/** All that a document has at a path and below. */
function below(doc: Map<string, string>, path: string): string {
  const lines = [...doc].filter(([at]) => at === path || at.startsWith(`${path} `));
  return lines
    .map(([at, what]) => `${at}=${what}`)
    .sort()
    .join("\n");
}

/** Path by path from the root: who changed it, and what there is of it then. */
function model(base: Doc | undefined, newer: Doc, older: Doc): { merged: Map<string, string>; contested: string[] } {
  const was: Map<string, string> = base === undefined ? new Map() : paths(base);
  const [mine, theirs] = [paths(newer), paths(older)];
  const merged = new Map<string, string>();
  const contested: string[] = [];
  const all = [...new Set([...mine.keys(), ...theirs.keys()])].sort(
    (a, b) => a.split(" ").length - b.split(" ").length,
  );
  const done: string[] = [];
  for (const path of all) {
    if (done.some((root) => path === root || path.startsWith(root === "" ? "" : `${root} `))) continue;
    const [w, m, t] = [below(was, path), below(mine, path), below(theirs, path)];
    const take = (from: Map<string, string>): void => {
      done.push(path);
      for (const [at, what] of from) if (at === path || at.startsWith(`${path} `)) merged.set(at, what);
    };
    if (m === t || t === w) take(mine);
    else if (m === w) take(theirs);
    else if (m === "") take(theirs);
    else if (t === "") take(mine);
    else if (mine.get(path) === OBJECT && theirs.get(path) === OBJECT) merged.set(path, OBJECT);
    else {
      take(mine);
      contested.push(path);
    }
  }
  return { merged, contested: contested.sort() };
}

function merge(base: Doc | undefined, newer: Doc, older: Doc, style: number | string = 0) {
  const bytes = (doc: Doc): Buffer => Buffer.from(JSON.stringify(doc, null, style));
  const result = mergeDocuments("json", base === undefined ? null : bytes(base), bytes(newer), bytes(older));
  if ("why" in result) throw new Error(result.why);
  return { doc: JSON.parse(result.bytes.toString()) as Doc, text: result.bytes.toString(), places: result.places };
}

test("objects and scalars merge as the model says, in any spelling", async () => {
  const base = fc.option(tree.doc, { nil: undefined });
  const property = fc.asyncProperty(base, tree.doc, tree.doc, fc.constantFrom(0, 2, "\t"), async (was, a, b, style) => {
    const { doc, text, places } = merge(was, a, b, style);
    const { merged, contested } = model(was, a, b);
    expect(paths(doc)).toEqual(merged);
    const pointers = contested.map((path) => path.replaceAll("/", "~1").replaceAll(" ", "/"));
    expect(places.toSorted()).toEqual(pointers.sort());
    if (style !== 0) expect(text).toBe(JSON.stringify(doc, null, style));
  });
  await holds("json trees", property, 3000);
});

/** A list of different texts: what one adds is nobody else's, what both leave alone stays. */
test("lists have all that was added, nothing that was removed, in an order that both know", async () => {
  const item = fc.nat(9).map((n) => `item ${n}`);
  const list = fc.uniqueArray(item, { maxLength: 8, size: "max" });
  const property = fc.asyncProperty(list, list, list, async (was, a, b) => {
    const { doc, places } = merge(was, a, b);
    const merged = doc as string[];
    const expected = [...new Set([...a, ...b])].filter((x) => !was.includes(x) || (a.includes(x) && b.includes(x)));
    expect(new Set(merged)).toEqual(new Set(expected));
    expect(new Set(merged).size).toBe(merged.length);
    // Two that both sides have are in the order of the side that moved any, of both the newer's.
    const moved = (side: string[]): boolean => {
      const kept = was.filter((x) => side.includes(x));
      return kept.join() !== side.filter((x) => was.includes(x)).join();
    };
    const frame = moved(a) || !moved(b) ? a : b;
    const common = frame.filter((x) => a.includes(x) && b.includes(x));
    expect(merged.filter((x) => common.includes(x))).toEqual(common);
    if (places.length > 0) expect(moved(a) && moved(b)).toBe(true);
  });
  await holds("json lists", property, 3000);
});

/** Lists with the same item more than once: as many as were there, and were added, and were not removed. */
test("lists of equal items count them", async () => {
  const list = fc.array(fc.constantFrom("x", "y"), { maxLength: 6 });
  const property = fc.asyncProperty(list, list, list, async (was, a, b) => {
    const merged = merge(was, a, b).doc as string[];
    for (const one of ["x", "y"]) {
      const count = (side: Doc[]): number => side.filter((other) => other === one).length;
      const [w, m, t] = [count(was), count(a), count(b)];
      // Removed by either, or by both the same ones or different ones; added by both alike once.
      const least = Math.max(0, w - Math.max(0, w - m) - Math.max(0, w - t)) + Math.max(0, m - w, t - w);
      const most = Math.min(m, w, t) + Math.max(0, m - w, t - w);
      expect(count(merged)).toBeGreaterThanOrEqual(least);
      expect(count(merged)).toBeLessThanOrEqual(most);
    }
  });
  await holds("json counts", property, 2000);
});

interface Todo {
  text: string;
  done: boolean;
  note?: string;
}

/** What people and their machines do with a list, told by its text, which is nobody else's. */
test("todo lists: every addition, tick and note of both sides is there, once", async () => {
  const action = fc.record({ do: fc.constantFrom("add", "tick", "note", "remove", "swap"), at: fc.nat(5) });
  const actions = fc.array(action, { maxLength: 5 });
  const apply = (todos: readonly Todo[], side: string, list: { do: string; at: number }[]): Todo[] => {
    let result = structuredClone(todos) as Todo[];
    for (const [i, { do: what, at }] of list.entries()) {
      const one = result[at % Math.max(1, result.length)];
      if (what === "add") result.push({ text: `${side} ${i}`, done: false });
      else if (one === undefined) continue;
      else if (what === "tick") one.done = true;
      else if (what === "note") one.note = `${side} ${i}`;
      else if (what === "remove") result = result.filter((other) => other !== one);
      else result = [one, ...result.filter((other) => other !== one)];
    }
    return result;
  };
  const property = fc.asyncProperty(fc.nat(5), actions, actions, async (count, mine, theirs) => {
    const was = Array.from({ length: count }, (_, i) => ({ text: `todo ${i}`, done: false }));
    const [a, b] = [apply(was, "newer", mine), apply(was, "older", theirs)];
    const merged = merge(was as unknown as Doc, a as unknown as Doc, b as unknown as Doc).doc as unknown as Todo[];
    const find = (list: readonly Todo[], text: string): Todo | undefined => list.find((todo) => todo.text === text);
    const changed = (todo: Todo | undefined): boolean => todo !== undefined && (todo.done || todo.note !== undefined);
    const expected = [...was, ...a, ...b].map(({ text }) => text);
    for (const text of new Set(expected)) {
      const [w, m, t, all] = [find(was, text), find(a, text), find(b, text), merged.filter((x) => x.text === text)];
      const stays = w === undefined || (m !== undefined && t !== undefined) || changed(m) || changed(t);
      expect(all, text).toHaveLength(stays ? 1 : 0);
      if (!stays) continue;
      expect(all[0]?.done, text).toBe((m?.done ?? false) || (t?.done ?? false));
      expect(all[0]?.note, text).toBe(m?.note ?? t?.note);
    }
    expect(merged).toHaveLength(new Set(merged.map(({ text }) => text)).size);
  });
  await holds("todo lists", property, 3000);
});
