import type { AgentName, RunReply, SessionTurn, TurnKind, TurnValue } from "@vlinder/protocol";
import { MAIN } from "@vlinder/protocol";
import { remedyLines } from "../failure.ts";
import type { Block } from "../outcome.ts";
import { dim, green, red, yellow } from "./color.ts";
import { short, shortHash } from "./hash.ts";
import { lockedLines } from "./owed.ts";
import { counted, size } from "./size.ts";
import { type Span, shownText, type Text, textOf } from "./text.ts";

/** How a turn ended, in one dim line, and what is worth knowing besides. */
export function endedLines(agent: AgentName, reply: RunReply, seconds: number): Block[] {
  const { turn, state, head, kind, merged, conflicts } = reply;
  if (kind !== "completed") return notCompletedLines(agent, reply);
  const joined = merged ? ", merged with what was written meanwhile" : "";
  return [
    dim(`${turn}  state ${short(head ?? state)}${joined}  ${seconds.toFixed(1)} s`),
    ...(conflicts === 0
      ? []
      : [
          [
            yellow(`${counted(conflicts, "key")} changed on both sides: `),
            `vlinder show ${agent} ${short(head ?? state)}`,
          ],
        ]),
    ...lockedLines(reply.sync),
  ];
}

/** Why a turn moved nothing, where what it did is kept, and what to do. */
export function notCompletedLines(agent: AgentName, { turn, kind, reason, kept, branch }: RunReply): Block[] {
  const to = branch === MAIN ? "" : ` --into ${branch}`;
  const first =
    kind === "conflict" ? "ask again: it then works on what is there now" : "ask again, when that is mended";
  return [
    [red(kind === "conflict" ? "conflict: " : "failed: "), reason ?? "", "  ", dim(turn)],
    ["  nothing was moved", ...(kept === null ? [] : ["; what it did is kept on the branch ", kept])],
    ...remedyLines(
      kept === null
        ? first
        : `${first}\nsee what it did: vlinder diff ${agent} ${branch} ${kept}\ntake it over nevertheless: vlinder merge ${agent} ${kept}${to}`,
    ),
  ];
}

export function kindText(kind: TurnKind): Span {
  if (kind === "completed") return green(kind);
  return kind === "open" ? yellow(kind) : red(kind);
}

/** Turns one below the other: what was said, and what came of it. */
export function turnBlocks(turns: readonly SessionTurn[], time: (iso: string) => string): Block[] {
  return turns.flatMap(({ turn, kind, began, state, input, output, reason }) => [
    [turn, "  ", kindText(kind), dim(`  ${time(began)}`), ...(state === null ? [] : ["  ", shortHash(state)])],
    ...valueLines(input, "> ").map((line): Text => ["  ", ...[line].flat()]),
    ...valueLines(output, "").map((line): Text => ["  ", ...[line].flat()]),
    ...(reason === null ? [] : [["  ", red(reason)]]),
  ]);
}

/** An input or output as lines, each with a mark before it. */
export function valueLines(value: TurnValue | null, mark: string, most: number = Number.POSITIVE_INFINITY): Text[] {
  if (value === null) return [];
  const text = value.value === null ? null : textOf(value.value);
  if (text === null) {
    const why = value.value === null ? "erased, or too large to be shown here" : "not text";
    return [dim(`${mark}${why}: ${size(value.size)}, sha-256 ${short(value.hash)}`)];
  }
  const lines = shownText(text.trimEnd()).split("\n");
  const more = lines.length - most;
  return [
    ...lines.slice(0, most).map((line) => `${mark}${line}`),
    ...(more > 0 ? [dim(`${mark}… ${counted(more, "line")} more`)] : []),
  ];
}
