import type { Readable } from "node:stream";
import type { AgentName, BranchName } from "@vlinder/protocol";
import type { Context } from "../context.ts";
import { errorLines } from "../failure.ts";
import { type Block, type Outcome, renderBlocks } from "../outcome.ts";
import { dim } from "../render/color.ts";
import { shellQuoted } from "../render/shell.ts";
import { counted } from "../render/size.ts";
import { endedLines } from "../render/turns.ts";
import { AskedTurn } from "./asked-turn.ts";
import { LineHistory } from "./line-history.ts";
import { newSession, opening, stateText } from "./opening.ts";
import { Prompt } from "./prompt.ts";
import type { ScreenOutput } from "./screen.ts";
import { ShownOutput } from "./shown-output.ts";

export interface Talk {
  readonly agent: AgentName;
  readonly branch?: BranchName;
  /** Absent: a new one. */
  readonly session?: string;
  readonly provider?: string;
  readonly model?: string;
}

export interface TalkTerminal {
  readonly input: Readable;
  readonly output: ScreenOutput;
  readonly color: boolean;
}

const HELP: readonly Block[] = [
  "/state    the state that the next turn begins from",
  "/session  this session, and how to go on with it later",
  "/quit     end; so does Ctrl-D",
  'A message is a line. It goes on when the line ends with \\, from """ to """, and where lines are pasted.',
  "A message that begins with / has a space before it. Ctrl-C cancels a turn that runs, or clears the line.",
];

/** A session at a terminal: message, turn, message, until its end. */
export async function converse(context: Context, talk: Talk, terminal: TalkTerminal): Promise<Outcome> {
  const { agent } = talk;
  const client = await context.client();
  const say = (blocks: readonly Block[]): void => void terminal.output.write(renderBlocks(blocks, terminal.color));
  const { session = newSession(), ...fields } = talk;
  const opened = await opening(client, agent, { ...fields, session });
  const history = await LineHistory.open(agent);
  say(opened.lines);
  let turns = opened.turns;
  const prompt = new Prompt({ ...terminal, history: history.lines, remember: (line) => history.add(line) });
  const again = `vlinder run ${agent}${talk.branch === undefined ? "" : ` --branch ${talk.branch}`} --session ${shellQuoted(session)}`;

  const answer = async (text: string): Promise<void> => {
    const started = performance.now();
    const output = new ShownOutput((chunk) => terminal.output.write(chunk), true);
    const turn = AskedTurn.run(client, agent, asked(talk, session, text), {
      part: (part) => {
        context.endProgress();
        output.part(part);
      },
      alive: (progress) => {
        if (!output.hasBegun) context.progress(progress);
      },
    });
    try {
      const reply = await prompt.during(turn.cancel, () => turn.reply);
      turns++;
      context.endProgress();
      output.end(reply.output);
      say(endedLines(agent, reply, (performance.now() - started) / 1000));
    } catch (thrown) {
      context.endProgress();
      output.end(null);
      say(errorLines(await context.explain(thrown)));
    }
  };
  const command = async (text: string): Promise<boolean> => {
    if (text === "/quit" || text === "/exit") return false;
    if (text === "/help") say(HELP);
    else if (text === "/state") say([await stateText(client, agent, talk.branch)]);
    else if (text === "/session") say([`${session}: ${counted(turns, "turn")}`, dim(`go on with it later: ${again}`)]);
    else say([`there is no ${text}`, dim("/help shows what there is; a space before / makes it a message")]);
    return true;
  };

  try {
    for (let goesOn = true; goesOn;) {
      const said = await prompt.next();
      if (said === null) {
        say([""]);
        goesOn = false;
      } else if (said.kind === "message") await answer(said.text);
      else goesOn = await command(said.text);
    }
  } finally {
    prompt.close();
  }
  const problem = await history.close();
  return {
    json: { session, turns },
    people: () => [
      ...(turns === 0 ? [] : [dim(`go on with it: ${again}`)]),
      ...(problem === null ? [] : [dim(`what you typed is not kept for the next time: ${problem}`)]),
    ],
  };
}

function asked({ branch, provider, model }: Talk, session: string, text: string) {
  return {
    input: Buffer.from(text, "utf8"),
    session,
    ...(branch === undefined ? {} : { branch }),
    ...(provider === undefined ? {} : { provider }),
    ...(model === undefined ? {} : { model }),
  };
}
