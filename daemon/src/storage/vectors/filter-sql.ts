import { canonicalJson, type Json, type Key, keyBytes, type Metadata, type VectorFilter } from "@vlinder/protocol";
import { conditionsOf } from "./filter.ts";

/** Conditions of a WHERE and the values to bind to them, in order. */
export interface Where {
  readonly conditions: readonly string[];
  readonly values: readonly (string | number | Buffer)[];
}

/**
 * The members that a filter can ask for, as canonical JSON. Kept apart from the whole metadata, which
 * is longer to read and to parse.
 */
export function filterableMembers(metadata: Metadata): string {
  const scalars = Object.entries(metadata).filter(([, value]) => value === null || typeof value !== "object");
  return canonicalJson(Object.fromEntries(scalars));
}

const OPERATORS = { gt: ">", gte: ">=", lt: "<", lte: "<=" } as const;

/**
 * A filter over the column `members`. Names and values are only ever bound, never part of the SQL.
 * `->` gives a member's JSON as it is stored; as that is canonical, equality of values is equality
 * of text, and needs no types.
 */
export function filterWhere(filter: VectorFilter): Where {
  const conditions: string[] = [];
  const values: (string | number)[] = [];
  for (const [name, condition] of conditionsOf(filter)) {
    const path = `$.${JSON.stringify(name)}`;
    if ("oneOf" in condition) {
      conditions.push(`members -> ? in (${condition.oneOf.map(() => "?").join(", ")})`);
      values.push(path, ...condition.oneOf.map((value) => canonicalJson(value as Json)));
      continue;
    }
    conditions.push("json_type(members, ?) in ('integer', 'real')");
    values.push(path);
    for (const [operator, sql] of Object.entries(OPERATORS)) {
      const bound = condition.range[operator as keyof typeof OPERATORS];
      if (bound === undefined) continue;
      // As a double, as in JavaScript: an integer over 2^53 would be compared digit by digit.
      conditions.push(`cast(members ->> ? as real) ${sql} ?`);
      values.push(path, bound);
    }
  }
  return { conditions, values };
}

/** Keys that start with a prefix, as a range of the column `key`. */
export function prefixWhere(prefix: Key): Where {
  const from = keyBytes(prefix);
  const to = Buffer.from(from);
  // UTF-8 has no byte 0xff, so the last byte can always be counted up.
  to[to.length - 1] = (to[to.length - 1] as number) + 1;
  return { conditions: ["key >= ?", "key < ?"], values: [from, to] };
}
