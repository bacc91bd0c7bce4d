import type { Command } from "commander";
import type { Context } from "./context.ts";
import { readRecoveryKey } from "./recovery-key.ts";

/** How a machine joins an encrypted vault. */
export interface JoinFlags {
  /** A file that holds the recovery key, or `-`. */
  readonly key?: string;
  readonly vault?: string;
  readonly name?: string;
}

export function withJoinOptions(command: Command): Command {
  return command
    .option("--key <file>", "join an encrypted vault by its recovery key; - asks for it")
    .option("--vault <hash>", "join an encrypted vault that a member let this machine into")
    .option("--name <name>", "what the members call this machine (default: its host name)");
}

/** The same for `sync.init`, with the key itself. @throws UsageError */
export async function joinOptions<Flags extends JoinFlags>(context: Context, flags: Flags): Promise<Flags> {
  return flags.key === undefined ? flags : { ...flags, key: await readRecoveryKey(context, flags.key) };
}
