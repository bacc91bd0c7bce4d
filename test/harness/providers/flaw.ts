import type { z } from "zod";

/** The first thing that a schema finds wrong with a body; each provider says it in its own words. */
export interface Flaw {
  readonly kind: "missing" | "unknown" | "type" | "value";
  readonly path: readonly (string | number)[];
  /** What was wanted, as Zod names it: `string`, `array`. */
  readonly wanted: string;
  /** What came instead. */
  readonly got: string;
  readonly message: string;
}

type Issue = z.core.$ZodIssue;

/** Of a union the branch that came furthest is meant. */
function deepest(issue: Issue, above: readonly PropertyKey[]): { issue: Issue; path: readonly PropertyKey[] } {
  const path = [...above, ...issue.path];
  if (issue.code !== "invalid_union") return { issue, path };
  const found = issue.errors.flatMap(([first]) => (first === undefined ? [] : [deepest(first, path)]));
  return found.reduce((best, one) => (one.path.length > best.path.length ? one : best), { issue, path });
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

function at(body: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | null)?.[key], body);
}

/** Parses a body, or says what is wrong with it through `refuse`, which throws. */
export function check<S extends z.ZodType>(schema: S, body: unknown, refuse: (flaw: Flaw) => never): z.output<S> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [first] = parsed.error.issues;
  if (first === undefined) throw parsed.error;
  const { issue, path } = deepest(first, []);
  const value = at(body, path);
  const common = { wanted: "expected" in issue ? String(issue.expected) : "", message: issue.message };
  if (issue.code === "unrecognized_keys") {
    return refuse({ ...common, kind: "unknown", path: plain([...path, issue.keys[0] ?? ""]), got: "" });
  }
  const kind = value === undefined ? "missing" : issue.code === "invalid_type" ? "type" : "value";
  return refuse({ ...common, kind, path: plain(path), got: typeName(value) });
}

function plain(path: readonly PropertyKey[]): (string | number)[] {
  return path.map((key) => (typeof key === "number" ? key : String(key)));
}

/** `messages[0].role`, as OpenAI writes it. */
export function bracketed(path: Flaw["path"]): string {
  return path.map((key, i) => (typeof key === "number" ? `[${key}]` : i === 0 ? key : `.${key}`)).join("");
}
