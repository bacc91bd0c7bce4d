import { type ErrorCode, VlinderError } from "@vlinder/protocol";
import { bold, dim, red } from "./render/color.ts";
import type { Block } from "./outcome.ts";

export const EXIT = { fine: 0, failed: 1, usage: 2, unreachable: 3 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export const START_REMEDY = "start it: `vlinderd`, or in a clone `npx vlinderd`";

/** The command line itself is wrong: nothing was asked of anybody. */
export class UsageError extends VlinderError {
  constructor(message: string, remedy: string, cause?: unknown) {
    super("invalid", message, { remedy, cause });
  }
}

/** No daemon answers. */
export class UnreachableError extends VlinderError {
  constructor(cause: VlinderError) {
    const { received: _received, ...details } = cause.details;
    super("unavailable", cause.message, { cause, details, remedy: START_REMEDY });
  }
}

/** The one place where an error becomes an exit code. */
export function exitCodeOf(error: VlinderError): ExitCode {
  if (error instanceof UsageError) return EXIT.usage;
  return error instanceof UnreachableError ? EXIT.unreachable : EXIT.failed;
}

/** An error of commander as ours. Its text is "error: unknown option '--x'\n(Did you mean --y?)". */
export function usageError(message: string, remedy: string): UsageError {
  const [first = "", ...hints] = message.replace(/^error: /, "").split("\n");
  const hint = hints
    .join(" ")
    .replace(/^\((.*)\)$/, "$1")
    .trim();
  return new UsageError(first, hint === "" ? remedy : hint);
}

interface ErrorLike {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** Where the error itself names none. */
const REMEDIES: Partial<Record<ErrorCode, string>> = {
  not_found: "see what is there: `vlinder kv list AGENT`, `vlinder branch list AGENT`, `vlinder log AGENT`",
  internal: "see the log of vlinderd; `vlinder doctor` may know more",
};

/** The lines of an error for people; of one inside a reply, too. */
export function errorLines(error: ErrorLike): Block[] {
  const told = error instanceof VlinderError ? error.remedy : error.details["remedy"];
  const remedy = told ?? REMEDIES[error.code];
  const problems = error.details["problems"];
  return [
    [red("error: "), error.message, " ", dim(`[${error.code}]`)],
    // The message has the first of several.
    ...(Array.isArray(problems) ? problems.slice(1).map((problem) => `       ${String(problem)}`) : []),
    ...(typeof remedy === "string" ? remedyLines(remedy) : []),
  ];
}

export function remedyLines(remedy: string): Block[] {
  const [first = "", ...rest] = remedy.split("\n");
  return [["  ", bold("what to do: "), first], ...rest.map((line) => `  ${line}`)];
}
