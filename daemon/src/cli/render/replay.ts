import type { AgentName, DiffReply, ReplayCost, ReplayDivergence, ReplayReply, ReplaySide } from "@vlinder/protocol";
import type { Block } from "../outcome.ts";
import { countsOf, countsText } from "../values/diff-report.ts";
import { compared } from "../values/value-diff.ts";
import { valueDiffLines } from "../values/value-diff-lines.ts";
import { timeText } from "./call.ts";
import { dim, green, red, yellow } from "./color.ts";
import { short } from "./hash.ts";
import { owedLines } from "./owed.ts";
import { shellQuoted } from "./shell.ts";
import { count, counted, size } from "./size.ts";
import type { Span, Text } from "./text.ts";
import { kindText } from "./turns.ts";

/** Whether the replay did all that the turn did, and nothing else. */
export function isSame({ same, divergences, unused }: ReplayReply): boolean {
  return same.kind && same.snapshot && same.output && divergences === 0 && unused === 0;
}

/** A replay beside the turn that it replays. @param state what differs between their states, for people */
export function replayBlocks(
  reply: ReplayReply,
  differences: DiffReply | null,
  state: readonly Block[],
): readonly Block[] {
  return [
    verdict(reply),
    costTable(reply),
    "",
    ...outputBlocks(reply),
    ...stateBlocks(reply, differences, state),
    ...callBlocks(reply),
  ];
}

function verdict(reply: ReplayReply): Block {
  const { turn, of, same, original, replay, divergences, unused } = reply;
  const about = dim(`  ${turn} replays ${of}`);
  if (isSame(reply)) return [green("same"), replay.kind === "completed" ? "" : `: ${replay.kind}, as then`, about];
  const what = [
    ...(same.kind ? [] : [`end (${replay.kind}, and not ${original.kind})`]),
    ...(same.output ? [] : ["output"]),
    ...(same.snapshot ? [] : ["state"]),
    ...(divergences + unused === 0 ? [] : ["calls"]),
  ];
  return [yellow("differs: "), what.join(", "), about];
}

function costTable({ original, replay }: ReplayReply): Block {
  const row = (name: string, of: (side: ReplaySide) => Text): Text[] => [dim(name), of(original), of(replay)];
  const cost = (name: string, of: (one: ReplayCost) => string): Text[] => row(name, (side) => of(side.cost));
  return {
    columns: [{ head: "" }, { head: "then" }, { head: "now" }],
    rows: [
      row("ended", ({ kind }) => kindText(kind)),
      cost("calls", ({ calls, recorded }) => `${count(calls)}${recorded === 0 ? "" : recordedText(calls, recorded)}`),
      cost("models", ({ models }) => (models.length === 0 ? "none" : models.join(", "))),
      cost("tokens", ({ input, output }) => `${count(input)} in, ${count(output)} out`),
      cost("in calls", ({ callMilliseconds }) => timeText(callMilliseconds)),
      cost("turn", ({ milliseconds }) => timeText(milliseconds)),
    ],
  };
}

function recordedText(calls: number, recorded: number): string {
  return recorded === calls ? ", from the record" : `, ${count(recorded)} from the record`;
}

function outputBlocks({ same, original, replay }: ReplayReply): Block[] {
  const reasons: Block[] =
    replay.reason === null || replay.reason === original.reason ? [] : [[red("reason  "), replay.reason]];
  if (same.output) return [...reasons, ["output  ", original.output === null ? "none, as then" : green("same")]];
  const [from, to] = [original.output, replay.output];
  const lacks = (side: typeof from): boolean => side !== null && side.value === null;
  if (lacks(from) || lacks(to)) {
    const sizes = [from, to].map((side) => (side === null ? "none" : size(side.size))).join(" → ");
    return [
      ...reasons,
      ["output  ", yellow("differs"), `  not compared: erased, or too large for one reply, ${sizes}`],
    ];
  }
  const one = from === null ? "there was none" : to === null ? "there is none" : "";
  return [
    ...reasons,
    ["output  ", yellow("differs"), one === "" ? "" : `  ${one}`],
    ...(one === "" || to !== null
      ? valueDiffLines({ from, to }, compared(from?.value ?? null, to?.value ?? null))
      : []),
  ];
}

function stateBlocks(
  { same, original, replay }: ReplayReply,
  differences: DiffReply | null,
  state: readonly Block[],
): Block[] {
  if (same.snapshot) return [["state   ", green("same"), dim(`  snapshot ${short(replay.snapshot)}`)]];
  const head = ["state   ", yellow("differs"), dim(`  ${short(original.state)} → ${short(replay.state)}`)] as const;
  if (differences === null) return [[...head, "  not compared: retention has dropped one of the two"]];
  const counts = countsText(countsOf(differences.items));
  return [
    [...head, counts === "" ? "" : `  ${counts}`, differences.contractChanged ? "  another contract" : ""],
    ...(counts === "" ? [] : state),
  ];
}

function callBlocks({ recorded, diverged, divergences, unused }: ReplayReply): Block[] {
  if (!recorded) return [];
  if (divergences + unused === 0) return [["calls   ", green("same")]];
  return [
    [
      "calls   ",
      yellow("differ"),
      ...(divergences === 0 ? [] : [`  ${counted(divergences, "call")} not asked then`]),
      ...(unused === 0 ? [] : [`  ${counted(unused, "recorded call")} not asked now`]),
    ],
    ...diverged.flatMap(divergedBlocks),
    ...(divergences > diverged.length ? [dim(`  and ${counted(divergences - diverged.length, "call")} more`)] : []),
  ];
}

function divergedBlocks({ call, asked, recorded }: ReplayDivergence): Block[] {
  const what = (side: typeof asked): string => `${side.service} ${side.method} ${side.path}`;
  const head: (string | Span)[] = [`  call ${call}  `, what(asked), dim(`  ${short(asked.commit)}`)];
  if (recorded === null) return [[...head, "  then: nothing more"]];
  const [from, to] = [recorded.request, asked.request];
  const then = what(recorded) === what(asked) ? "" : `  then: ${what(recorded)}`;
  const lacks = (side: typeof from): boolean => side !== null && side.value === null;
  if (lacks(from) || lacks(to)) return [[...head, then, "  bodies not compared: erased, or too large for one reply"]];
  if (from?.hash === to?.hash) return [[...head, then, "  the same body"]];
  return [
    [...head, then, dim(` against ${short(recorded.commit)}`)],
    ...valueDiffLines({ from, to }, compared(from?.value ?? null, to?.value ?? null)),
  ];
}

/** What a person may do now. */
export function nextBlocks(agent: AgentName, { branch, replay, sync }: ReplayReply): Block[] {
  if (branch === null) return owedLines(sync);
  const [name, quoted] = [branch, shellQuoted(branch)];
  const kept = replay.kind === "completed" ? `it is the branch ${name}` : `what it did is kept as the branch ${name}`;
  return [
    "",
    dim(kept),
    ...(replay.kind === "completed" ? [dim(`  put it in main's place:  vlinder promote ${agent} ${quoted}`)] : []),
    dim(`  look at it:              vlinder log ${agent} --branch ${quoted}`),
    dim(`  drop it:                 vlinder branch delete ${agent} ${quoted}`),
    ...owedLines(sync),
  ];
}
