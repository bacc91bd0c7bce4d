import { resolve } from "node:path";
import {
  type CopiesReply,
  type FetchedCopiesReply,
  type PushReply,
  type RetireReply,
  VlinderError,
} from "@vlinder/protocol";
import { agentArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Context } from "../context.ts";
import { errorLines } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { dim, yellow } from "../render/color.ts";
import { drillBlocks } from "../render/drilled.ts";
import { short } from "../render/hash.ts";
import { pullBlocks } from "../render/pulled.ts";
import { count, size } from "../render/size.ts";
import { statusBlocks } from "../render/sync-status.ts";

export const defineSync: Define = (command, act) => {
  command
    .command("status")
    .description("the bucket, what is owed to it, and the machines that use it")
    .argument("[agent]", "with its branches beside what other machines have published of them")
    .action(
      act(async (context, name: string | undefined): Promise<Outcome> => {
        const agent = name === undefined ? {} : { agent: agentArgument(name) };
        const reply = await (await context.client()).admin("sync.status", agent);
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
    .description("put a copy of the SQLite files into the bucket, for people, or get one from there")
    .argument("[agent]", "default: all")
    .option("--get <dir>", "bring the newest copy to DIR/AGENT instead, decrypted where the vault is encrypted")
    .action(
      act(async (context, name: string | undefined, { get }: { get?: string }): Promise<Outcome> => {
        const agent = name === undefined ? {} : { agent: agentArgument(name) };
        if (get === "") {
          throw new VlinderError("invalid", "--get names no folder", { remedy: "vlinder sync databases --get DIR" });
        }
        if (get !== undefined) return await fetchCopies(context, agent, resolve(get));
        const reply = await (await context.client()).admin("sync.databases", agent, { onProgress: context.progress });
        return {
          json: reply,
          failed: reply.agents.some(({ error }) => error !== null),
          people: () => copyBlocks(reply),
        };
      }),
    );
  command
    .command("drill")
    .description("restore from the bucket into a temporary folder, verify all of it and compare")
    .argument("[agent]", "default: all that are here or in the bucket")
    .option("--keep <dir>", "a new folder for the restored home, which stays")
    .action(
      act(async (context, name: string | undefined, options: { keep?: string }): Promise<Outcome> => {
        const agent = name === undefined ? {} : { agent: agentArgument(name) };
        const keep = options.keep === undefined ? {} : { keep: resolve(options.keep) };
        const client = await context.client();
        const reply = await client.admin("sync.drill", { ...agent, ...keep }, { onProgress: context.progress });
        return { json: reply, failed: !reply.ok, people: () => drillBlocks(reply) };
      }),
    );
};

function retiredBlocks({ device, agents, notes }: RetireReply): Block[] {
  const had = agents.length === 0 ? "it had no heads in the bucket" : `its heads are deleted: ${agents.join(", ")}`;
  return [`device ${short(device)} is retired; ${had}`, ...notes.map((note) => yellow(note))];
}

async function fetchCopies(context: Context, agent: { agent?: string }, path: string): Promise<Outcome> {
  const client = await context.client();
  const reply = await client.admin("sync.databases_get", { ...agent, path }, { onProgress: context.progress });
  return {
    json: reply,
    failed: reply.agents.some(({ error }) => error !== null),
    people: () => fetchedBlocks(reply),
  };
}

function fetchedBlocks({ agents }: FetchedCopiesReply): Block[] {
  if (agents.length === 0) return [dim("the bucket has no copies: vlinder sync databases makes them")];
  return agents.flatMap(({ agent, device, time, files, notes, error }): Block[] => [
    `${agent}:${time === null ? "" : `   made ${time} by ${short(device ?? "")}`}`,
    ...files.map(({ path, bytes }): Block => `  ${path}  ${size(bytes)}`),
    ...notes.map((note): Block => yellow(`  ${note}`)),
    ...(error === null ? [] : errorLines(error)),
  ]);
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
