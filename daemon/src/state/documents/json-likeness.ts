import type { JsonNode } from "./json-document.ts";

/** Members that name an item, the first one that it has. */
const NAMES = ["id", "_id", "uuid", "key"];

interface Field {
  /** The same text for the same member with the same value. */
  readonly key: string;
  readonly weight: number;
}

/** What an object or array can be told by. */
interface Item {
  readonly at: number;
  readonly fields: readonly Field[];
  /** The field that names it; null: none does. */
  readonly named: string | null;
}

interface Pair {
  readonly from: number;
  readonly to: number;
  readonly likeness: number;
}

/**
 * Matches items that a side changed: of those that are left over, pairs that are the same by name
 * (`id` and the like), or else have in common at least half of what tells one of them apart. What an item
 * shares with another one of its array does not tell it apart, nor do `true`, `false` and `null`: a todo
 * that was ticked off is the same one, and another that is open, too, is not.
 *
 * @param matches for each item of the base its place in the side; changed here
 * @param free places of the side that no item of the base has; changed here
 */
export function matchChanged(
  base: readonly JsonNode[],
  side: readonly JsonNode[],
  matches: Int32Array,
  free: Set<number>,
): void {
  if (free.size === 0 || !matches.includes(-1)) return;
  const theirs = new Telling(side);
  const mine = new Telling(base);
  const pairs: Pair[] = [];
  for (const item of mine.items) {
    if ((matches[item.at] as number) >= 0) continue;
    for (const [other, shared] of sharedWith(item, mine, theirs)) {
      const likeness = free.has(other.at) ? likenessOf(item, mine, other, theirs, shared) : 0;
      if (likeness > 0) pairs.push({ from: item.at, to: other.at, likeness });
    }
  }
  pairs.sort((a, b) => b.likeness - a.likeness || a.from - b.from || a.to - b.to);
  for (const { from, to } of pairs) {
    if ((matches[from] as number) >= 0 || !free.delete(to)) continue;
    matches[from] = to;
  }
}

/** An array's items by the fields that only one of them has. */
class Telling {
  readonly items: readonly Item[];
  /** Null: more than one item has the field. */
  readonly #owners = new Map<string, Item | null>();

  constructor(nodes: readonly JsonNode[]) {
    this.items = nodes.flatMap((node, at) => (node.kind === "scalar" ? [] : [itemOf(node, at)]));
    for (const item of this.items) {
      for (const { key } of item.fields) this.#owners.set(key, this.#owners.has(key) ? null : item);
    }
  }

  owner(key: string): Item | null {
    return this.#owners.get(key) ?? null;
  }

  weight({ fields }: Item): number {
    return fields.reduce((sum, { key, weight }) => (this.owner(key) === null ? sum : sum + weight), 0);
  }
}

function itemOf(node: Exclude<JsonNode, { kind: "scalar" }>, at: number): Item {
  if (node.kind === "array") {
    const fields = node.items.map(({ id, weight }, i) => ({ key: `[${id}:${i}`, weight }));
    return { at, fields, named: null };
  }
  const key = (name: string, value: JsonNode): string => `{${value.id}:${name}`;
  const fields = [...node.members].map(([name, { value }]) => ({ key: key(name, value), weight: value.weight }));
  const name = NAMES.find((one) => node.members.has(one));
  const value = name === undefined ? undefined : node.members.get(name)?.value;
  const names = name !== undefined && value?.kind === "scalar" && value.isIdentity;
  return { at, fields, named: names ? key(name, value) : null };
}

/** The items with which it shares what only the two have, and the weight of that. */
function sharedWith(item: Item, mine: Telling, theirs: Telling): Map<Item, number> {
  const shared = new Map<Item, number>();
  for (const { key, weight } of item.fields) {
    const other = mine.owner(key) === null ? null : theirs.owner(key);
    if (other !== null) shared.set(other, (shared.get(other) ?? 0) + weight);
  }
  return shared;
}

/** 0: they are not the same item. */
function likenessOf(item: Item, mine: Telling, other: Item, theirs: Telling, shared: number): number {
  if (item.named !== null && other.named !== null) {
    const same = item.named === other.named && mine.owner(item.named) !== null && theirs.owner(other.named) !== null;
    return same ? Number.MAX_SAFE_INTEGER : 0;
  }
  return 2 * shared >= Math.min(mine.weight(item), theirs.weight(other)) ? shared : 0;
}
