import type { CopiesReply, PushReply, RetireReply, SyncMetrics, SyncStatusReply } from "@vlinder/protocol";
import { agentArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import { errorLines } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { pullBlocks } from "../render/pulled.ts";
import { dim, yellow } from "../render/color.ts";
import { short } from "../render/hash.ts";
import { bucketText, owedText, syncErrorLines } from "../render/owed.ts";
import { count, counted, size } from "../render/size.ts";
import { facts } from "../render/table.ts";
import { ago } from "../render/time.ts";

export const defineSync: Define = (command, act) => {
  command
    .command("status")
    .description("the bucket, what is owed to it, and the machines that use it")
    .action(
      act(async (context): Promise<Outcome> => {
        const reply = await (await context.client()).admin("sync.status");
        return { json: reply, people: () => statusBlocks(reply) };
      }),
    );
  command
    .command("push")
    .description("send what the bucket lacks")
    .argument("[agent]", "default: all")
    .action(
      act(async (context, name: string | undefined): Promise<Outcome> => {
        const agent = name === undefined ? {} : { agent: agentArgument(name) };
        const reply = await (await context.client()).admin("sync.push", agent, { onProgress: context.progress });
        return {
          json: reply,
          failed: reply.agents.some(({ error }) => error !== null),
          people: () => pushBlocks(reply),
        };
      }),
    );
  command
    .command("pull")
    .description("bring in what other machines wrote")
    .argument("[agent]", "default: all, and those that this machine does not have yet")
    .action(
      act(async (context, name: string | undefined): Promise<Outcome> => {
        const agent = name === undefined ? {} : { agent: agentArgument(name) };
        const reply = await (await context.client()).admin("sync.pull", agent, { onProgress: context.progress });
        return {
          json: reply,
          failed: reply.agents.some(({ error }) => error !== null),
          people: () => pullBlocks(reply),
        };
      }),
    );
  command
    .command("retire")
    .description("no longer wait for a machine that is lost; what it pushed is kept")
    .argument("<device>", "its id, or the first digits of it: see vlinder sync status")
    .action(
      act(async (context, device: string): Promise<Outcome> => {
        const reply = await (await context.client()).admin("sync.retire", { device }, { onProgress: context.progress });
        return { json: reply, people: () => retiredBlocks(reply) };
      }),
    );
  command
    .command("databases")
    .description("put a copy of the SQLite files into the bucket, for people")
    .argument("[agent]", "default: all")
    .action(
      act(async (context, name: string | undefined): Promise<Outcome> => {
        const agent = name === undefined ? {} : { agent: agentArgument(name) };
        const reply = await (await context.client()).admin("sync.databases", agent, { onProgress: context.progress });
        return {
          json: reply,
          failed: reply.agents.some(({ error }) => error !== null),
          people: () => copyBlocks(reply),
        };
      }),
    );
};

function retiredBlocks({ device, agents, notes }: RetireReply): Block[] {
  const had = agents.length === 0 ? "it had no heads in the bucket" : `its heads are deleted: ${agents.join(", ")}`;
  return [`device ${short(device)} is retired; ${had}`, ...notes.map((note) => yellow(note))];
}

function copyBlocks({ agents }: CopiesReply): Block[] {
  if (agents.length === 0) return [dim("no agent to copy")];
  return agents.flatMap(({ agent, files, why, error }): Block[] => [
    `${agent}:`,
    ...files.map(({ path, bytes }): Block => `  ${path}  ${size(bytes)}`),
    ...(why === null ? [] : [dim(`  nothing: ${why}`)]),
    ...(error === null ? [] : errorLines(error)),
  ]);
}

function statusBlocks(sync: SyncStatusReply): Block[] {
  return [
    facts([
      ["bucket", bucketText(sync)],
      ["vault", sync.vault === null ? null : short(sync.vault)],
      ["device", short(sync.device)],
    ]),
    "",
    {
      columns: [
        { head: "agent" },
        { head: "when" },
        { head: "owed" },
        { head: "since" },
        { head: "pushed" },
        { head: "pulled" },
      ],
      rows: sync.agents.map((one) => [
        one.agent,
        one.when,
        owedText(one.owed),
        ago(one.since),
        one.pushed === null ? "never" : ago(one.pushed),
        one.pulled === null ? "never" : ago(one.pulled),
      ]),
    },
    ...(sync.devices.length < 2
      ? []
      : [
          "",
          {
            columns: [{ head: "device" }, { head: "seen" }],
            rows: sync.devices.map(({ device, self, seen }) => [
              short(device),
              self ? "this machine" : seen === null ? "not yet" : ago(seen),
            ]),
          },
        ]),
    ...(sync.bucket === null ? [] : ["", metricsLine(sync.metrics)]),
    ...syncErrorLines(sync),
  ];
}

/** What was done since the daemon started. */
function metricsLine({ pushes, pulls, probes }: SyncMetrics): Block {
  const failures = [pushes, pulls].reduce((sum, { failed }) => sum + failed.retry + failed.person, 0);
  return dim(
    `since the start: ${counted(pushes.done, "push", "pushes")}, ${size(pushes.bytes)} sent; ${counted(pulls.done, "pull")}, ` +
      `${size(pulls.bytes)} fetched, ${count(probes.unchanged)} spared; ${counted(failures, "failure")}`,
  );
}

function pushBlocks({ agents }: PushReply): Block[] {
  if (agents.length === 0) return [dim("no agent to push")];
  return [
    {
      columns: [
        { head: "agent" },
        { head: "commits", right: true },
        { head: "objects", right: true },
        { head: "sent", right: true },
      ],
      rows: agents.flatMap(({ agent, commits, objects, bytes, error }) =>
        error === null ? [[agent, count(commits), count(objects), size(bytes)]] : [],
      ),
    },
    ...agents.flatMap(({ agent, error }): Block[] => (error === null ? [] : [`${agent}:`, ...errorLines(error)])),
  ];
}
