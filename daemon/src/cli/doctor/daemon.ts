import type { StatusReply, SyncJoining } from "@vlinder/protocol";
import type { Context } from "../context.ts";
import { openBucket } from "../../sync/buckets/open.ts";
import { checkVault } from "../../sync/vault/vault.ts";
import { owedText } from "../render/owed.ts";
import { counted } from "../render/size.ts";
import { ago } from "../render/time.ts";
import { attempted, bad, type Finding, ok, skipped } from "./check.ts";

export async function checkDaemon(
  context: Context,
): Promise<{ readonly finding: Finding; readonly status: StatusReply | null }> {
  let status: StatusReply | null = null;
  const finding = await attempted("daemon", async () => {
    status = await (await context.client()).admin("daemon.status", {}, { timeout: 10_000 });
    return ok("daemon", `pid ${status.pid}   ${status.nats.url}`);
  });
  return { finding, status };
}

export function checkAgents(status: StatusReply | null): Finding[] {
  if (status === null) return [skipped("agents", "the daemon knows")];
  const wrong = status.agents.flatMap(({ agent, error }) =>
    error === null
      ? []
      : [bad("agents", "failed", `${agent}: ${error.message}`, remedyOf(error.details, `vlinder agent show ${agent}`))],
  );
  const down = status.agents.flatMap(({ agent, process }) =>
    process === null || process.state === "running"
      ? []
      : [
          bad(
            "agents",
            "warning",
            `${agent}: its process is ${process.state}${process.error === null ? "" : `: ${process.error.message}`}`,
            remedyOf(process.error?.details ?? {}, `vlinder logs ${agent}`),
          ),
        ],
  );
  const all = [...wrong, ...down];
  return all.length > 0 ? all : [ok("agents", `${status.agents.length} served`)];
}

export async function checkBucket(status: StatusReply | null): Promise<Finding[]> {
  if (status === null) return [skipped("bucket", "the daemon knows")];
  const { sync, home } = status;
  const uri = sync.bucket;
  if (uri === null) {
    return [
      bad("bucket", "warning", "none: memory is kept only on this machine", "vlinder init file:///path/to/folder"),
    ];
  }
  const reached = sync.joining === undefined ? await reach(uri, home) : joiningFinding(uri, sync.joining);
  const failed = sync.agents.flatMap(({ agent, error, lock, owed }) => {
    if (error === null) return [];
    const remedy = remedyOf(error.details, "vlinder sync push");
    const since = lock === null ? "" : ` since ${ago(lock.since)}`;
    const only = owed.commits === 0 ? "" : `, ${owedText(owed)} are only here`;
    return [bad("sync", "failed", `${agent}: stands still${since}${only}: ${error.message}`, remedy)];
  });
  const well = sync.agents.length - failed.length;
  return [reached, ...(well > 0 ? [ok("sync", `${counted(well, "agent")} well`)] : []), ...failed, ...checkDrill(sync)];
}

async function reach(uri: string, home: string): Promise<Finding> {
  return await attempted("bucket", async () => {
    const bucket = await openBucket(uri);
    try {
      await checkVault(bucket, home);
    } finally {
      await bucket.close();
    }
    return ok("bucket", uri);
  });
}

/** A new home's, which the daemon tries to join by itself. */
function joiningFinding(uri: string, { error }: SyncJoining): Finding {
  if (error === null) return bad("bucket", "warning", `${uri} is being joined`, "run vlinder doctor again in a while");
  return bad(
    "bucket",
    "failed",
    `${uri} can't be used: ${error.message}`,
    remedyOf(error.details, "vlinder sync push"),
  );
}

/** A backup that was never restored is a hope. */
function checkDrill({ agents, drill }: StatusReply["sync"]): Finding[] {
  const remedy = "vlinder sync drill";
  if (drill === null) {
    return agents.some(({ pushed }) => pushed !== null)
      ? [bad("drill", "warning", "never: nobody has seen that the bucket can be restored", remedy)]
      : [];
  }
  const when = ago(drill.time);
  if (drill.ok) return [ok("drill", `the bucket was restored and compared ${when}`)];
  return [bad("drill", "failed", `${when}: ${drill.error ?? `not as pushed: ${drill.failed.join(", ")}`}`, remedy)];
}

function remedyOf(details: Readonly<Record<string, unknown>>, otherwise: string): string {
  return typeof details["remedy"] === "string" ? details["remedy"] : otherwise;
}
