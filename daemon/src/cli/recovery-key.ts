import { readFile } from "node:fs/promises";
import type { Context } from "./context.ts";
import { UsageError } from "./failure.ts";
import type { Block } from "./outcome.ts";
import { bold, yellow } from "./render/color.ts";
import { askSecret } from "./secret.ts";

/** What `--key FILE` or `--key -` names. @throws UsageError */
export async function readRecoveryKey(context: Context, from: string): Promise<string> {
  if (from === "-") return (await askSecret(context, "Recovery key (not shown): ")).trim();
  // Typed there, it would be in the shell's history, and in the list of processes.
  if (/^age-secret-key-/i.test(from)) {
    throw new UsageError("--key takes a file, not the key itself", "--key - asks for it, or reads standard input");
  }
  try {
    return (await readFile(from, "utf8")).trim();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new UsageError(`the recovery key can't be read: ${why}`, "name the file it is in, or - to be asked for it");
  }
}

/** The one time that it is shown. */
export function recoveryBlocks(key: string): Block[] {
  return [
    "",
    ["recovery key: ", bold(key)],
    [
      yellow("keep it safe: "),
      "it is shown this once and kept nowhere. It opens the vault when all machines are lost; without it, and",
    ],
    "without a machine that is a member, what the bucket holds can never be read. Whoever has it can read and write everything.",
  ];
}
