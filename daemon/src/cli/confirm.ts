import type { Context } from "./context.ts";
import { UsageError } from "./failure.ts";

/** Asks on the terminal; only `yes` is one. @throws UsageError where nobody can be asked */
export async function confirmed(context: Context, question: string): Promise<boolean> {
  const { stdin, stderr } = context.terminal;
  if (stdin.isTTY !== true || context.json) {
    throw new UsageError(
      "this can't be undone, and there is no terminal to ask on",
      "--yes does it, --dry-run only says what",
    );
  }
  context.endProgress();
  stderr.write(`${question} Type yes: `);
  for await (const chunk of stdin) {
    return (
      Buffer.from(chunk as Uint8Array)
        .toString("utf8")
        .trim() === "yes"
    );
  }
  return false;
}
