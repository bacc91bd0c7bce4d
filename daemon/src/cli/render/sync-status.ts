import type { DrillRecord, SyncMetrics, SyncStatusReply } from "@vlinder/protocol";
import type { Block } from "../outcome.ts";
import { dim, green, red, yellow } from "./color.ts";
import { short, shortHash } from "./hash.ts";
import { bucketText, owedText, syncErrorLines } from "./owed.ts";
import { count, counted, size } from "./size.ts";
import { facts, type Table } from "./table.ts";
import type { Text } from "./text.ts";
import { ago } from "./time.ts";

/** What `vlinder sync status` shows. */
export function statusBlocks(sync: SyncStatusReply): Block[] {
  return [
    facts([
      ["bucket", bucketText(sync)],
      ["vault", sync.vault === null ? null : short(sync.vault)],
      ["device", short(sync.device)],
      ["drill", sync.bucket === null ? null : drillText(sync.drill)],
    ]),
    "",
    {
      columns: [
        { head: "agent" },
        { head: "when" },
        { head: "owed" },
        { head: "since" },
        { head: "pushed" },
        { head: "pulled" },
      ],
      rows: sync.agents.map((one) => [
        one.agent,
        one.when,
        owedText(one.owed),
        ago(one.since),
        one.pushed === null ? "never" : ago(one.pushed),
        one.pulled === null ? "never" : ago(one.pulled),
      ]),
    },
    ...deviceBlocks(sync),
    ...sync.agents.flatMap(({ branches = [] }): Block[] => (branches.length === 0 ? [] : ["", branchTable(branches)])),
    ...(sync.bucket === null ? [] : ["", metricsLine(sync.metrics)]),
    ...syncErrorLines(sync),
  ];
}

/** What was done since the daemon started. */
function metricsLine({ pushes, pulls, probes }: SyncMetrics): Block {
  const failures = [pushes, pulls].reduce((sum, { failed }) => sum + failed.retry + failed.person, 0);
  return dim(
    `since the start: ${counted(pushes.done, "push", "pushes")}, ${size(pushes.bytes)} sent; ${counted(pulls.done, "pull")}, ` +
      `${size(pulls.bytes)} fetched, ${count(probes.unchanged)} spared; ${counted(failures, "failure")}`,
  );
}

export function drillText(drill: DrillRecord | null): Text {
  if (drill === null) return yellow("never: vlinder sync drill restores the bucket and compares");
  const when = `${ago(drill.time)}${drill.agent === null ? "" : ` (of ${drill.agent} alone)`}`;
  if (drill.ok) return [green("fine"), ` ${when}`];
  return [red("failed"), ` ${when}: ${drill.error ?? drill.failed.join(", ")}`];
}

function deviceBlocks({ agents, devices }: SyncStatusReply): Block[] {
  if (devices.length < 2) return [];
  const rows = devices.flatMap(({ device, self, seen }): Text[][] => {
    if (self) return [[short(device), "this machine"]];
    const heads = agents.flatMap(({ agent, heads: all }) =>
      all.filter((head) => head.device === device).map((head) => ({ agent, ...head })),
    );
    if (heads.length === 0) return [[short(device), seen === null ? "not yet" : ago(seen)]];
    return heads.map(({ agent, n, time }, i) => [i === 0 ? short(device) : "", ago(time), agent, count(n)]);
  });
  const columns = [{ head: "device" }, { head: "seen" }, { head: "agent" }, { head: "head", right: true }];
  return ["", { columns, rows }];
}

type Branches = NonNullable<SyncStatusReply["agents"][number]["branches"]>;

function branchTable(branches: Branches): Table {
  return {
    columns: [{ head: "branch" }, { head: "device" }, { head: "here" }, { head: "there" }, { head: "this machine" }],
    rows: branches.map(({ branch, device, state, theirs, ...beside }, i) => [
      branches[i - 1]?.branch === branch ? "" : branch,
      short(device),
      state === null ? dim("none") : shortHash(state),
      theirs === null ? dim("none") : shortHash(theirs),
      relationText(beside),
    ]),
  };
}

function relationText({ relation, ahead, behind }: Pick<Branches[number], "relation" | "ahead" | "behind">): Text {
  if (relation === "equal") return "equal";
  if (relation === "absent") return dim("only on one");
  if (ahead === null || behind === null) return yellow("behind: not pulled yet");
  const parts = [ahead > 0 ? `ahead by ${count(ahead)}` : "", behind > 0 ? `behind by ${count(behind)}` : ""];
  return `${relation === "diverged" ? "diverged: " : ""}${parts.filter((part) => part !== "").join(", ")}`;
}
