import type { Client } from "@vlinder/agent-runtime";
import { type AgentName, asVlinderError, type DiffReply, type ReplayReply, VlinderError } from "@vlinder/protocol";
import { agentArgument, branchFieldOf, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Context } from "../context.ts";
import { UsageError } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { isSame, nextBlocks, replayBlocks } from "../render/replay.ts";
import { countsOf, differenceTable, valueBlocks, withValues } from "../values/diff-report.ts";
import { diffOf } from "./diff.ts";

interface ReplayOptions {
  readonly turn?: string;
  readonly at?: string;
  readonly recorded?: true;
  readonly model?: string;
  readonly provider?: string;
  readonly branch?: string;
}

export const defineReplay: Define = (command, act) => {
  command
    .argument("<agent>")
    .option("--turn <id>", "the turn: t-…")
    .option("--at <ref>", "the turn that a commit, or a branch's newest one, belongs to")
    .option("--recorded", "answer calls from the record: no model is asked")
    .option("--model <name>", "another model; PROVIDER/MODEL for one of another provider")
    .option("--provider <name>", "another provider that config.toml has")
    .option("--branch <name>", "the fork's name; default replay/TURN")
    .addHelpText(
      "after",
      `
The agent runs on what it was asked then, on the state that the turn began from. The turn and its branch stay as they are; what the
replay does is on a fork. Exit code 0: it ended in the same way, with the same output and state, and asked the same. 1: it did not.`,
    )
    .action(
      act(async (context, name: string, options: ReplayOptions): Promise<Outcome> => {
        const agent = agentArgument(name);
        checkOptions(options);
        const client = await context.client();
        const turn = options.turn ?? (await turnAt(client, agent, refArgument(options.at as string)));
        const request = {
          turn,
          ...(options.recorded === true ? { recorded: true } : {}),
          ...(await whomToAsk(client, options)),
          ...branchFieldOf(options),
        };
        const reply = await asked(context, client, agent, request);
        return await outcome(context, client, agent, reply);
      }),
    );
};

/** @throws UsageError */
function checkOptions({ turn, at, recorded, model, provider }: ReplayOptions): void {
  if ((turn === undefined) === (at === undefined)) {
    throw new UsageError("which turn is to be replayed?", "name it: --turn t-…, or --at with a commit of it");
  }
  if (recorded === true && (model !== undefined || provider !== undefined)) {
    throw new UsageError("--recorded asks no model", "leave out --recorded to ask another one");
  }
}

/** @throws not_found, when the commit belongs to none */
async function turnAt(client: Client, agent: AgentName, ref: string): Promise<string> {
  const { hash, turn, event } = await client.request(agent, "timeline.show", { ref });
  if (turn !== null) return turn;
  throw new VlinderError("not_found", `the commit ${hash.slice(0, 7)} (${event.kind}) belongs to no turn`, {
    details: { ref, commit: hash },
    remedy: `see which do: vlinder log ${agent} --graph, or vlinder session list ${agent}`,
  });
}

/** `PROVIDER/MODEL` means a provider where config.toml has it; names of models have slashes, too. */
async function whomToAsk(
  client: Client,
  { model, provider }: ReplayOptions,
): Promise<{ provider?: string; model?: string }> {
  if (model === undefined) return provider === undefined ? {} : { provider };
  if (provider !== undefined) return { provider, model };
  const slash = model.indexOf("/");
  const first = model.slice(0, Math.max(0, slash));
  if (first === "" || slash === model.length - 1) return { model };
  const { items } = await client.admin("providers.list");
  if (!items.some((one) => one.provider === first)) return { model };
  return { provider: first, model: model.slice(slash + 1) };
}

async function asked(context: Context, client: Client, agent: AgentName, request: object): Promise<ReplayReply> {
  const { AskedTurn } = await import("../talk/asked-turn.ts");
  const { ShownOutput } = await import("../talk/shown-output.ts");
  const { stdout } = context.terminal;
  const output = new ShownOutput((chunk) => stdout.write(chunk), stdout.isTTY === true);
  const turn = new AskedTurn(client, agent, (options) => client.request(agent, "turn.replay", request, options), {
    part: (text) => {
      if (context.json) return;
      context.endProgress();
      output.part(text);
    },
    alive: (progress) => {
      if (!output.hasBegun) context.progress(progress);
    },
  });
  process.on("SIGINT", turn.cancel);
  try {
    return await turn.reply;
  } finally {
    context.endProgress();
    if (!context.json && output.hasBegun) {
      output.end(null);
      stdout.write("\n");
    }
    process.off("SIGINT", turn.cancel);
  }
}

async function outcome(context: Context, client: Client, agent: AgentName, reply: ReplayReply): Promise<Outcome> {
  const failed = !isSame(reply);
  const differences = await stateDifferences(client, agent, reply);
  if (context.json) {
    const items = differences === null ? null : await withValues(client, agent, differences);
    const state = items === null ? null : { counts: countsOf(items), items };
    return { json: { ...reply, differs: failed, state }, failed, people: () => [] };
  }
  const state: Block[] = [];
  if (differences !== null) {
    for await (const blocks of valueBlocks(client, agent, differences)) state.push(...blocks);
    if (state.length === 0) state.push(differenceTable([]));
  }
  return {
    json: reply,
    failed,
    people: () => [...replayBlocks(reply, differences, state), ...nextBlocks(agent, reply)],
  };
}

/** Null: retention has dropped one of the two states meanwhile. */
async function stateDifferences(
  client: Client,
  agent: AgentName,
  { original, replay }: ReplayReply,
): Promise<DiffReply | null> {
  try {
    return await diffOf(client, agent, { from: original.state, to: replay.state });
  } catch (thrown) {
    if (asVlinderError(thrown).code !== "pruned") throw thrown;
    return null;
  }
}
