import type { ForgetReply } from "@vlinder/protocol";
import { agentArgument, keyArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import { confirmed } from "../confirm.ts";
import { PATIENT } from "../context.ts";
import type { Block, Outcome } from "../outcome.ts";
import { bold, green, yellow } from "../render/color.ts";
import { short, shortHash } from "../render/hash.ts";
import { counted, size } from "../render/size.ts";

interface ForgetOptions {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

export const defineForget: Define = (command, act) => {
  command
    .argument("<agent>")
    .argument("<key>", "a key, or a prefix that ends with /")
    .option("--dry-run", "say what would be erased, and do nothing")
    .option("--yes", "do not ask")
    .addHelpText(
      "after",
      "\nKey names, sizes and hashes stay in the history: a value that can be guessed can be recognised by its hash.",
    )
    .action(
      act(async (context, name: string, text: string, options: ForgetOptions): Promise<Outcome> => {
        const agent = agentArgument(name);
        const key = keyArgument(text);
        const asked = key.endsWith("/") ? { prefix: key } : { key };
        const client = await context.client();
        const how = { ...PATIENT, onProgress: context.progress };
        const plan = await client.request(agent, "timeline.forget", { ...asked, run: false }, how);
        const planned = (): Block[] => planBlocks(agent, key, plan);
        if (options.dryRun === true || plan.keys === 0) return { json: plan, people: planned };
        if (options.yes !== true) {
          const question = `erase ${counted(plan.values, "value")} of ${key} for ever?`;
          if (!(await confirmed(context, question))) return { json: plan, failed: true, people: planned };
        }
        const reply = await client.request(agent, "timeline.forget", { ...asked, run: true }, how);
        return { json: reply, people: () => doneBlocks(key, reply) };
      }),
    );
};

function planBlocks(agent: string, key: string, plan: ForgetReply): Block[] {
  if (plan.keys === 0) return [`nothing of ${key} is left to erase`];
  return [
    `would erase ${counted(plan.values, "value")} of ${counted(plan.keys, "key")}, ${size(plan.bytes)}`,
    ...keptLines(plan),
    ["nothing was done; next: ", bold(`vlinder forget ${agent} ${key}`)],
  ];
}

function doneBlocks(key: string, reply: ForgetReply): Block[] {
  const state: Block[] = reply.state === null ? [] : [["state ", shortHash(reply.state)]];
  return [
    [green("erased "), `${counted(reply.values, "value")} of ${key}, ${size(reply.bytes)}`],
    ...keptLines(reply),
    ...reply.notes.map((note): Block => [yellow("note: "), note]),
    ...state,
  ];
}

function keptLines({ kept }: ForgetReply): Block[] {
  return kept.map(({ key, hash }): Block => [yellow("stays: "), `${short(hash)}, as ${key} holds it too`]);
}
