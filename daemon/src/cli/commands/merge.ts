import type { AgentName, AgentReplies, ConflictItem } from "@vlinder/protocol";
import { agentArgument, branchArgument, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import { UsageError } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { dim, green, yellow } from "../render/color.ts";
import { conflictBlocks } from "../render/conflicts.ts";
import { short, shortHash } from "../render/hash.ts";

type MergeReply = AgentReplies["timeline.merge"];

interface Options {
  readonly into: string;
  readonly ours?: true;
  readonly theirs?: true;
  readonly dryRun?: true;
}

export const defineMerge: Define = (command, act) => {
  command
    .argument("<agent>")
    .argument("<from>", "the branch or commit that comes in")
    .option("--into <branch>", "the branch that takes it", "main")
    .option("--ours", "where both changed a key, keep the value of the branch that takes it")
    .option("--theirs", "where both changed a key, keep the value that comes in")
    .option("--dry-run", "say what would be merged and decided, and change nothing")
    .action(
      act(async (context, name: string, fromText: string, options: Options): Promise<Outcome> => {
        const [agent, from, into] = [agentArgument(name), refArgument(fromText), branchArgument(options.into)];
        if (options.ours === true && options.theirs === true) {
          throw new UsageError("--ours and --theirs exclude each other", "give one of them, or none");
        }
        const prefer = options.ours === true ? "ours" : options.theirs === true ? "theirs" : undefined;
        const dry = options.dryRun === true;
        const request = { from, into, ...(prefer && { prefer }), ...(dry && { dry }) };
        const reply = await (await context.client()).request(agent, "timeline.merge", request);
        return {
          json: reply,
          people: () => mergeBlocks(reply, { agent, from, into, dry, chosen: prefer !== undefined }),
        };
      }),
    );
};

interface Asked {
  readonly agent: AgentName;
  readonly from: string;
  readonly into: string;
  readonly dry: boolean;
  readonly chosen: boolean;
}

function mergeBlocks({ kind, state, ours, conflicts }: MergeReply, { agent, from, into, dry, chosen }: Asked): Block[] {
  if (kind === "nothing") return [`nothing to merge: ${into} has all of ${from}`];
  const how = kind === "fast-forward" ? " (fast-forward)" : "";
  const sides = new Map<ConflictItem, string>(conflicts.map((one) => [one, one.from]));
  const why = chosen ? "" : ", the newer";
  return [
    dry
      ? [yellow("would merge "), `${from} into ${into}${how}; nothing was changed`]
      : [green("merged "), `${from} into ${into}${how}; state `, shortHash(state)],
    ...conflictBlocks(agent, conflicts, (one) => `${sides.get(one) ?? ""}${why}`),
    ...(dry || conflicts.length === 0
      ? []
      : [dim(`undo: vlinder rewind ${agent} --to ${short(ours)}${branchOption(into)}`)]),
  ];
}

function branchOption(branch: string): string {
  return branch === "main" ? "" : ` --branch ${branch}`;
}
