import type { GcReply } from "@vlinder/protocol";
import { agentArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import { PATIENT } from "../context.ts";
import { UsageError } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { bold, green, yellow } from "../render/color.ts";
import { count, counted, size } from "../render/size.ts";
import { quarantineLines, spaceText } from "../render/space.ts";

interface GcOptions {
  readonly dryRun?: boolean;
  readonly run?: boolean;
  readonly undo?: boolean;
}

export const defineGc: Define = (command, act) => {
  command
    .argument("<agent>")
    .option("--dry-run", "say what would be dropped, and do nothing (the default)")
    .option("--run", "do it; what is dropped is put aside for a while")
    .option("--undo", "bring back what the last collection dropped")
    .action(
      act(async (context, name: string, options: GcOptions): Promise<Outcome> => {
        const agent = agentArgument(name);
        const { dryRun = false, run = false, undo = false } = options;
        if (Number(dryRun) + Number(run) + Number(undo) > 1) {
          throw new UsageError("--dry-run, --run and --undo are three things", "give one of them");
        }
        const client = await context.client();
        const how = { ...PATIENT, onProgress: context.progress };
        const reply = await client.request(agent, "timeline.gc", { run, undo }, how);
        return { json: reply, people: () => gcBlocks(agent, reply) };
      }),
    );
};

function gcBlocks(agent: string, reply: GcReply): Block[] {
  const { commits, space } = reply;
  const end = [
    ...quarantineLines(space),
    `space: ${spaceText(space)}`,
    ...reply.notes.map((note): Block => [yellow("note: "), note]),
  ];
  if (reply.undone !== null) {
    return [[green("brought back "), `${counted(reply.undone.commits, "state")}, ${size(reply.undone.bytes)}`], ...end];
  }
  const states = `${counted(commits.dropped, "state")} of ${counted(commits.all, "commit")}`;
  const what = `${states}, ${counted(reply.objects, "object")}, ${size(reply.bytes)}`;
  const before = commits.pruned - commits.dropped;
  const earlier = before === 0 ? [] : [`${count(before)} were dropped before`];
  if (reply.run) {
    return [[green("dropped "), what], ...earlier, `the files shrank by ${size(reply.reclaimed)}`, ...end];
  }
  const nothing = reply.objects === 0 && commits.dropped === 0;
  return [
    nothing ? "there is nothing to drop" : `would drop ${what}`,
    ...earlier,
    ...end,
    ...(nothing ? [] : [["nothing was done; next: ", bold(`vlinder gc ${agent} --run`)] satisfies Block]),
  ];
}
