import type { SyncLock, SyncOwed, SyncStatusReply } from "@vlinder/protocol";
import { errorLines } from "../failure.ts";
import type { Block } from "../outcome.ts";
import { dim, yellow } from "./color.ts";
import { counted, size } from "./size.ts";
import type { Text } from "./text.ts";
import { ago, ahead } from "./time.ts";

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
  const yet = sync.joining === undefined ? "nothing pushed yet" : "not joined yet";
  const when = pushed === "" ? yet : `pushed ${ago(pushed)}`;
  const owes = `owed: ${owedText(owed)}`;
  return [`${sync.bucket}   ${when}   `, owed.commits === 0 ? owes : yellow(owes)];
}

/** What keeps sync from going on, agent by agent. */
export function syncErrorLines(sync: SyncStatusReply): Block[] {
  const { lock = null, error = null } = sync.joining ?? {};
  // It is the same for all agents.
  if (error !== null)
    return [[yellow("the bucket of config.toml can't be used"), lockText(lock)], ...errorLines(error)];
  return sync.agents.flatMap(({ agent, error, lock, notes }): Block[] => [
    ...(error === null ? [] : [[yellow(`sync of ${agent} stands still`), lockText(lock)], ...errorLines(error)]),
    ...notes.map((note) => [yellow("note: "), `${agent}: ${note}`]),
  ]);
}

/** Since when, and what happens next. */
function lockText(lock: SyncLock | null): string {
  if (lock === null) return ":";
  const since = ` since ${ago(lock.since)}`;
  if (lock.class === "person") return `${since}; somebody has to do something:`;
  return lock.next === null ? `${since}:` : `${since}; it is tried again ${ahead(lock.next)}:`;
}

/** After a turn, in a line: silent while sync is well. */
export function lockedLines(sync: SyncOwed | undefined): Block[] {
  if (sync?.lock === undefined) return [];
  const { owed, lock, error } = sync;
  const text = lockText(lock).slice(0, -1);
  return [dim(`only here: ${owedText(owed)}; sync stands still${text}: ${error?.message ?? ""} (vlinder sync status)`)];
}

/** After a write: silent while sync is well. */
export function owedLines(sync: SyncOwed | undefined): Block[] {
  if (sync?.error === undefined) return [];
  return [
    [yellow("owed to the bucket: "), owedText(sync.owed), `, since ${ago(sync.since)}`],
    ...errorLines(sync.error),
  ];
}
