import type { SyncOwed, SyncStatusReply } from "@vlinder/protocol";
import { errorLines } from "../failure.ts";
import type { Block } from "../outcome.ts";
import { yellow } from "./color.ts";
import { counted, size } from "./size.ts";
import type { Text } from "./text.ts";
import { ago } from "./time.ts";

export function owedText({ commits, bytes }: { readonly commits: number; readonly bytes: number }): string {
  return commits === 0 ? "nothing" : `${counted(commits, "commit")}, ${size(bytes)}`;
}

/** The bucket in one line: where, when something went there, and what it lacks of all agents together. */
export function bucketText(sync: SyncStatusReply): Text {
  if (sync.bucket === null) return "none: memory is kept only here (`vlinder init file:///…`)";
  const owed = sync.agents.reduce(
    (sum, one) => ({ commits: sum.commits + one.owed.commits, bytes: sum.bytes + one.owed.bytes }),
    { commits: 0, bytes: 0 },
  );
  const pushed = sync.agents.map((one) => one.pushed ?? "").reduce((newest, one) => (one > newest ? one : newest), "");
  const when = pushed === "" ? "nothing pushed yet" : `pushed ${ago(pushed)}`;
  const owes = `owed: ${owedText(owed)}`;
  return [`${sync.bucket}   ${when}   `, owed.commits === 0 ? owes : yellow(owes)];
}

/** What keeps sync from going on, agent by agent. */
export function syncErrorLines(sync: SyncStatusReply): Block[] {
  return sync.agents.flatMap(({ agent, error, notes }): Block[] => [
    ...(error === null ? [] : [`sync of ${agent} failed:`, ...errorLines(error)]),
    ...notes.map((note) => [yellow("note: "), `${agent}: ${note}`]),
  ]);
}

/** After a write: silent while sync is well. */
export function owedLines(sync: SyncOwed | undefined): Block[] {
  if (sync?.error === undefined) return [];
  return [
    [yellow("owed to the bucket: "), owedText(sync.owed), `, since ${ago(sync.since)}`],
    ...errorLines(sync.error),
  ];
}
