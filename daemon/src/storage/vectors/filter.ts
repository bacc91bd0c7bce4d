import { type Metadata, invalid, type VectorFilter } from "@vlinder/protocol";

type Scalar = string | number | boolean | null;
export interface Range {
  readonly gt?: number | undefined;
  readonly gte?: number | undefined;
  readonly lt?: number | undefined;
  readonly lte?: number | undefined;
}
export type Condition = { readonly oneOf: readonly Scalar[] } | { readonly range: Range };

/** Conditions in one filter: far over what anyone writes, far under what SQLite takes. */
const MOST_CONDITIONS = 100;

/**
 * A filter as a list of conditions on members, all of which must hold. A member that is absent, an
 * object or an array meets no condition; `null` is met by a member that is null. A number never
 * equals a text or a boolean. @throws invalid
 */
export function conditionsOf(filter: VectorFilter): [name: string, condition: Condition][] {
  const entries = Object.entries(filter);
  if (entries.length > MOST_CONDITIONS) {
    throw invalid(`a filter of ${entries.length} conditions`, { details: { limit: MOST_CONDITIONS } });
  }
  return entries.map(([name, wanted]) => {
    if (!name.isWellFormed()) throw invalid("a filter's name must be valid Unicode: it has a lone surrogate");
    if (typeof wanted === "object" && wanted !== null && !("in" in wanted)) return [name, { range: wanted }];
    const oneOf = typeof wanted === "object" && wanted !== null ? wanted.in : [wanted];
    for (const value of oneOf) {
      if (typeof value === "number" && !Number.isFinite(value)) throw invalid("a filter's number must be finite");
      if (typeof value === "string" && !value.isWellFormed()) {
        throw invalid("a filter's text must be valid Unicode: it has a lone surrogate");
      }
    }
    return [name, { oneOf }];
  });
}

export function matchesFilter(metadata: Metadata, filter: VectorFilter): boolean {
  return conditionsOf(filter).every(([name, condition]) => {
    const member = Object.hasOwn(metadata, name) ? metadata[name] : undefined;
    if ("oneOf" in condition) return condition.oneOf.some((value) => value === member);
    if (typeof member !== "number") return false;
    const { gt, gte, lt, lte } = condition.range;
    return (
      (gt === undefined || member > gt) &&
      (gte === undefined || member >= gte) &&
      (lt === undefined || member < lt) &&
      (lte === undefined || member <= lte)
    );
  });
}
