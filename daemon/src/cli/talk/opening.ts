import { randomBytes } from "node:crypto";
import type { Client } from "@vlinder/agent-runtime";
import { type AgentName, asVlinderError, type BranchName, MAIN, type SessionTurn } from "@vlinder/protocol";
import type { Block } from "../outcome.ts";
import { bold, dim, red } from "../render/color.ts";
import { shortHash } from "../render/hash.ts";
import { counted } from "../render/size.ts";
import { plainText, type Span } from "../render/text.ts";
import { ago } from "../render/time.ts";
import { valueLines } from "../render/turns.ts";

/** Exchanges that are shown of a session that goes on, and lines of each of their texts. */
const SHOWN = { turns: 3, lines: 6 };

/** Where a session begins. */
export interface Opening {
  readonly session: string;
  /** Turns that it had before. */
  readonly turns: number;
  readonly lines: readonly Block[];
}

/** A session's name of the form that the daemon gives. */
export function newSession(): string {
  return `s-${Date.now().toString(36).padStart(9, "0")}${randomBytes(6).toString("hex")}`;
}

/** @throws not_found: no such branch; unavailable */
export async function opening(
  client: Client,
  agent: AgentName,
  { branch, session = newSession() }: { readonly branch?: BranchName; readonly session?: string },
): Promise<Opening> {
  const state = await stateText(client, agent, branch);
  const { turns, items } = await earlier(client, agent, session);
  const last = items.at(-1);
  return {
    session,
    turns,
    lines: [
      [bold(agent), "  ", ...state],
      [
        `session ${session}: `,
        last === undefined ? "new" : `${counted(turns, "turn")} before, the last ${ago(last.time)}`,
      ],
      ...items.flatMap(exchange),
      dim('Ctrl-C cancels a turn, Ctrl-D ends; \\ at the end of a line or """ goes on in the next; /help'),
    ],
  };
}

/** Where a branch is: name, state, when that was made. */
export async function stateText(
  client: Client,
  agent: AgentName,
  branch: BranchName = MAIN,
): Promise<(string | Span)[]> {
  const { items } = await client.request(agent, "timeline.log", { from: branch, limit: 1 });
  const [head] = items;
  if (head === undefined) return [dim(`branch ${branch}`)];
  const time = head.time === null ? "" : `, ${ago(head.time)}`;
  return [dim(`branch ${branch} at `), shortHash(head.hash), dim(time)];
}

/** A name that was never used is that of a new session. */
async function earlier(
  client: Client,
  agent: AgentName,
  session: string,
): Promise<{ readonly turns: number; readonly items: readonly SessionTurn[] }> {
  try {
    return await client.request(agent, "session.get", { session, limit: SHOWN.turns });
  } catch (thrown) {
    if (asVlinderError(thrown).code === "not_found") return { turns: 0, items: [] };
    throw thrown;
  }
}

function exchange({ input, output, kind, reason }: SessionTurn): Block[] {
  const lines = [...valueLines(input, "> ", SHOWN.lines), ...valueLines(output, "", SHOWN.lines)];
  return [
    ...lines.map((line) => dim(`  ${plainText(line)}`)),
    ...(kind === "completed" ? [] : [["  ", red(kind), dim(reason === null ? "" : `: ${reason}`)]]),
  ];
}
