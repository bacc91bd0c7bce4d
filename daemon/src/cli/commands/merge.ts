import type { AgentReplies } from "@vlinder/protocol";
import { agentArgument, branchArgument, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Block, Outcome } from "../outcome.ts";
import { dim, green, yellow } from "../render/color.ts";
import { shortHash } from "../render/hash.ts";
import { counted } from "../render/size.ts";

type MergeReply = AgentReplies["timeline.merge"];

export const defineMerge: Define = (command, act) => {
  command
    .argument("<agent>")
    .argument("<from>", "the branch or commit that comes in")
    .option("--into <branch>", "the branch that takes it", "main")
    .action(
      act(async (context, name: string, fromText: string, options: { into: string }): Promise<Outcome> => {
        const [agent, from, into] = [agentArgument(name), refArgument(fromText), branchArgument(options.into)];
        const reply = await (await context.client()).request(agent, "timeline.merge", { from, into });
        return { json: reply, people: () => mergeBlocks(reply, from, into) };
      }),
    );
};

function mergeBlocks({ kind, state, conflicts }: MergeReply, from: string, into: string): Block[] {
  if (kind === "nothing") return [`nothing to merge: ${into} has all of ${from}`];
  const how = kind === "fast-forward" ? " (fast-forward)" : "";
  return [
    [green("merged "), `${from} into ${into}${how}; state `, shortHash(state)],
    ...(conflicts.length === 0 ? [] : [yellow(`${counted(conflicts.length, "key")} changed on both sides:`)]),
    {
      columns: [{}, {}],
      rows: conflicts.map(({ space, key, kept }) => [
        space === "vectors" ? [key, dim(" (vector)")] : key,
        kept === null ? "the other value is in history" : ["the other value is ", kept],
      ]),
    },
  ];
}
