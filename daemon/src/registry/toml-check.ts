import type { VlinderError } from "@vlinder/protocol";
import { z } from "zod";
import type { TomlPath } from "./positions.ts";
import type { Problem, TomlSource } from "./toml-source.ts";

/**
 * Checks a TOML file against a schema. Custom messages of the schema are used as they are; all
 * others become sentences with what is allowed. @throws invalid, with file, line and column
 */
export function checkToml<Schema extends z.ZodType>(source: TomlSource, schema: Schema): z.output<Schema> {
  const allowed = new Map<string, readonly string[]>();
  const result = schema.safeParse(source.table, {
    error: (issue) => {
      if (issue.code === "unrecognized_keys" && issue.inst instanceof z.ZodObject) {
        allowed.set(JSON.stringify(issue.path ?? []), Object.keys(issue.inst.shape as object));
      }
      return messageOf(issue);
    },
  });
  if (result.success) return result.data;
  throw tomlErrors(source, result.error.issues, allowed);
}

function tomlErrors(
  source: TomlSource,
  issues: readonly z.core.$ZodIssue[],
  allowed: ReadonlyMap<string, readonly string[]>,
): VlinderError {
  const problems: Problem[] = [];
  let remedy = "correct the file at this place";
  for (const issue of issues) {
    const path = issue.path as TomlPath;
    if (issue.code !== "unrecognized_keys") {
      problems.push(source.problem(path, "value", issue.message));
      continue;
    }
    const names = allowed.get(JSON.stringify(path)) ?? [];
    for (const key of issue.keys) {
      // A misspelt key is why the right one is missing.
      problems.push({ ...source.problem([...path, key], "key", unknownName("key", key, names)), cause: true });
    }
    const place = path.length === 0 ? "at the top" : `in [${path.join(".")}]`;
    remedy = `allowed ${place}: ${names.join(", ")}`;
  }
  return source.errors(problems, remedy);
}

/** `unknown key "x"; did you mean "y"?`, or what is allowed when nothing is near. */
export function unknownName(what: string, given: string, allowed: readonly string[]): string {
  const near = nearest(given, allowed);
  const hint = near === null ? `allowed: ${allowed.join(", ")}` : `did you mean ${JSON.stringify(near)}?`;
  return `unknown ${what} ${shown(given)}; ${hint}`;
}

/** A value as it is shown in an error, cut to fit. */
export function shown(value: unknown): string {
  const text = typeof value === "bigint" ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

/** A schema's issue as a sentence with what is allowed; undefined leaves it to Zod. */
export function messageOf(issue: z.core.$ZodRawIssue): string | undefined {
  const key =
    typeof issue.path?.at(-1) === "number" ? `each of ${shown(issue.path.at(-2))}` : shown(issue.path?.at(-1));
  if (issue.code === "invalid_type" || issue.code === "invalid_value") {
    if (issue.input === undefined) return `${key} is required`;
  }
  if (issue.code === "invalid_type") {
    return `${key} must be ${TYPES[issue.expected] ?? issue.expected}, not ${shown(issue.input)}`;
  }
  if (issue.code === "invalid_value") {
    return `${key} must be one of ${issue.values.map(shown).join(", ")}, not ${shown(issue.input)}`;
  }
  if (issue.code === "too_small" && (issue.origin === "string" || issue.origin === "array")) {
    return `${key} must not be empty`;
  }
  return undefined;
}

const TYPES: Readonly<Record<string, string>> = {
  string: "a string",
  number: "a number",
  int: "an integer",
  boolean: "true or false",
  object: "a table",
  record: "a table",
  array: "an array",
};

/** The allowed name that a person most likely meant; null when none is near. */
export function nearest(given: string, allowed: readonly string[]): string | null {
  let best: string | null = null;
  let least = Math.max(2, Math.floor(given.length / 4)) + 1;
  for (const name of allowed) {
    const distance = editDistance(given.toLowerCase().slice(0, 100), name.toLowerCase());
    if (distance < least) [best, least] = [name, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replace, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
