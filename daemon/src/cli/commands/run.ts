import { Readable, Writable } from "node:stream";
import { agentArgument, branchFieldOf } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import { smallContentOf } from "../content.ts";
import type { Context } from "../context.ts";
import { UsageError } from "../failure.ts";
import type { Outcome } from "../outcome.ts";
import { wantsColor } from "../render/color.ts";
import { endedLines } from "../render/turns.ts";
import type { Talk } from "../talk/conversation.ts";
import { BRANCH } from "./kv-options.ts";

interface RunOptions {
  readonly message?: string;
  readonly branch?: string;
  readonly session?: string;
  readonly provider?: string;
  readonly model?: string;
}

export const defineRun: Define = (command, act) => {
  command
    .argument("<agent>")
    .option("-m, --message <text>", "one turn with this input; - reads standard input, @file a file")
    .option("--session <id>", "go on with this session; default: a new one")
    .option(...BRANCH)
    .option("--provider <name>", "another provider than agent.toml says")
    .option("--model <name>", "another model than agent.toml says")
    .addHelpText(
      "after",
      `
Without -m: a session in the terminal, message by message; standard input that is no terminal is the one message.
What the agent emits is written as it comes, and at the end what that lacks of the output. Exit code 1: the turn
failed or had a conflict, and moved nothing.`,
    )
    .action(
      act(async (context, name: string, options: RunOptions): Promise<Outcome> => {
        const agent = agentArgument(name);
        const { session, provider, model } = options;
        if (session === "") throw new UsageError("--session is empty", "leave it out for a new session");
        const talk: Talk = {
          agent,
          ...branchFieldOf(options),
          ...(session === undefined ? {} : { session }),
          ...(provider === undefined ? {} : { provider }),
          ...(model === undefined ? {} : { model }),
        };
        const { stdin } = context.terminal;
        if (options.message === undefined && stdin.isTTY === true) return await talkAt(context, talk);
        return await once(context, talk, await inputOf(context, options.message ?? "-"));
      }),
    );
};

async function talkAt(context: Context, talk: Talk): Promise<Outcome> {
  const { stdin, stdout, env } = context.terminal;
  const color = wantsColor(stdout, env);
  if (context.json || stdout.isTTY !== true || !(stdin instanceof Readable) || !(stdout instanceof Writable)) {
    throw new UsageError("a session needs a terminal, to type at and to write to", "give the one message: -m TEXT");
  }
  const { converse } = await import("../talk/conversation.ts");
  return await converse(context, talk, { input: stdin, output: stdout, color });
}

/** The end of the last line is not part of what is piped in, as a shell has it; a file is taken byte for byte. */
async function inputOf(context: Context, argument: string): Promise<Uint8Array> {
  const input = await smallContentOf(context, argument);
  if (argument !== "-" || input.at(-1) !== 0x0a) return input;
  return input.subarray(0, input.at(-2) === 0x0d ? -2 : -1);
}

async function once(context: Context, { agent, ...fields }: Talk, input: Uint8Array): Promise<Outcome> {
  const client = await context.client();
  const { AskedTurn } = await import("../talk/asked-turn.ts");
  const { ShownOutput } = await import("../talk/shown-output.ts");
  const { stdout, stderr } = context.terminal;
  const started = performance.now();
  const output = new ShownOutput((chunk) => stdout.write(chunk), stdout.isTTY === true);
  const turn = AskedTurn.run(
    client,
    agent,
    { ...fields, input },
    {
      part: (text) => {
        if (context.json) return;
        context.endProgress();
        output.part(text);
      },
      alive: (progress) => {
        if (!output.hasBegun) context.progress(progress);
      },
    },
  );
  process.on("SIGINT", turn.cancel);
  try {
    const reply = await turn.reply;
    context.endProgress();
    if (!context.json) output.end(reply.output);
    const failed = reply.kind !== "completed";
    const lines = endedLines(agent, reply, (performance.now() - started) / 1000);
    return { json: reply, failed, people: () => [], aside: failed || stderr.isTTY === true ? lines : [] };
  } catch (error) {
    if (!context.json && output.hasBegun) output.end(null);
    throw error;
  } finally {
    process.off("SIGINT", turn.cancel);
  }
}
