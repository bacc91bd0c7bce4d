import type { DrillAgent, DrillBranch, DrillReply } from "@vlinder/protocol";
import { errorLines, remedyLines } from "../failure.ts";
import type { Block } from "../outcome.ts";
import { dim, green, red, yellow } from "./color.ts";
import { shortHash } from "./hash.ts";
import { count, counted, size } from "./size.ts";
import type { Text } from "./text.ts";

/** Of damaged objects, so many are shown for each agent. */
const EXAMPLES = 3;

/** What a drill found out, agent by agent and branch by branch. */
export function drillBlocks(reply: DrillReply): Block[] {
  const { ok, bucket, agents, bytes, seconds, kept } = reply;
  if (agents.length === 0) return [dim("no agent is here or in the bucket")];
  const failed = agents.filter((one) => !one.ok).length;
  // Of less, the rate is that of starting.
  const rate = bytes > 1_000_000 ? ` (${size(Math.round(bytes / seconds.restore))}/s)` : "";
  const took = `${size(bytes)} fetched in ${seconds.restore.toFixed(1)} s${rate}, verified in ${seconds.verify.toFixed(1)} s`;
  return [
    ok
      ? [green("restored and intact: "), `${bucket}   ${took}`]
      : [red(`${counted(failed, "agent")} could not be restored as pushed: `), `${bucket}   ${took}`],
    {
      columns: [
        { head: "agent" },
        { head: "branch" },
        { head: "result" },
        { head: "here" },
        { head: "restored" },
        { head: "verified", right: true },
        { head: "fetched", right: true },
      ],
      rows: agents.flatMap(agentRows),
    },
    ...agents.flatMap(agentLines),
    ...(ok
      ? []
      : remedyLines("keep this home: it may be all there is; then see what is said above, and vlinder sync push")),
    ...(kept === null ? [] : [[dim("kept: "), `${kept}   try it: VLINDER_HOME=${kept} vlinderd`]]),
  ];
}

function agentRows({ agent, ok, here, bytes, verified, branches }: DrillAgent): Text[][] {
  const objects = verified === null ? "" : counted(verified.objects, "object");
  const rows = branches.map(({ name, state, restored, ...branch }) => [
    name,
    resultText(branch),
    shortHash(state),
    restored === null ? dim("none") : shortHash(restored),
  ]);
  if (!here) rows.push(["", ok ? "only in the bucket" : red("only in the bucket"), "", ""]);
  if (here && rows.length === 0) rows.push(["", ok ? "" : red("failed"), "", ""]);
  return rows.map((row, i) => [i === 0 ? agent : "", ...row, ...(i === 0 ? [objects, size(bytes)] : [])]);
}

function resultText({ result, missing, owed, more, ok }: Omit<DrillBranch, "name" | "state" | "restored">): Text {
  const told =
    result === "behind"
      ? `behind by ${count(missing)}`
      : result === "ahead"
        ? `ahead by ${count(more)}`
        : result === "diverged"
          ? `lacks ${count(missing)}, has ${count(more)} more`
          : result;
  if (!ok) return red(missing > owed ? `${told}: ${counted(missing - owed, "commit")} lost` : told);
  if (missing > 0) return yellow(`${told}, owed`);
  return result === "equal" ? green(told) : told;
}

function agentLines({ agent, verified, notes, error }: DrillAgent): Block[] {
  const damage = verified?.damage.slice(0, EXAMPLES) ?? [];
  return [
    ...notes.map((note): Block => [yellow("note: "), `${agent}: ${note}`]),
    ...damage.map((one): Block => [red("damaged: "), `${agent}: ${one.kind} ${one.hash}: ${one.problem}`]),
    ...(error === null ? [] : [`${agent}:`, ...errorLines(error)]),
  ];
}
