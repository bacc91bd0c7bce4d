import { basename, dirname, resolve } from "node:path";
import type { AgentName, AgentVaultImportReply, ImportFinding, VlinderCliImportReply } from "@vlinder/protocol";
import type { Command } from "commander";
import { agentArgument } from "../arguments.ts";
import type { Act, Define } from "../catalogue.ts";
import { UsageError } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { shortHash } from "../render/hash.ts";
import { bold, dim, green, yellow } from "../render/color.ts";
import { pullBlocks } from "../render/pulled.ts";
import { count, counted, size } from "../render/size.ts";

export const defineImport: Define = (command, act) => {
  defineArchive(command, act);
  defineVlinderCli(command, act);
  defineAgentVault(command, act);
};

function defineArchive(command: Command, act: Act): void {
  command
    .command("archive", { isDefault: true })
    .description("bring an agent from the tar that `vlinder export` wrote (the word may be left out)")
    .argument("<tar>", "the file, on the daemon's machine")
    .option("--into <agent>", "merge it into this agent, as a pull does; else it is a new one")
    .option("--name <agent>", "another name for the new agent: its commits are written anew under it")
    .action(
      act(async (context, file: string, { into, name }: { into?: string; name?: string }): Promise<Outcome> => {
        if (into !== undefined && name !== undefined) {
          throw new UsageError("either --into or --name", "a new name is for a new agent");
        }
        const request = {
          path: resolve(file),
          ...(into === undefined ? {} : { into: agentArgument(into) }),
          ...(name === undefined ? {} : { name: agentArgument(name) }),
        };
        const client = await context.client();
        const reply = await client.admin("agents.import", request, { onProgress: context.progress });
        return {
          json: reply,
          people: () => [
            [green("imported "), `${reply.agent}${reply.created ? "   new here" : ""}`],
            ...pullBlocks({ agents: [{ ...reply, error: null }] }),
            ["next: ", bold(`vlinder log ${reply.agent}`), dim("   and vlinder agent add DIR, where its code is")],
          ],
        };
      }),
    );
}

function defineVlinderCli(command: Command, act: Act): void {
  command
    .command("vlindercli")
    .description("bring the history of a VlinderCLI agent or session as a new agent")
    .argument("<state.db>", "the file, on the daemon's machine; it is only read")
    .option("--agent <name>", "the new agent's name; else that of the file's folder")
    .action(
      act(async (context, file: string, options: { agent?: string }): Promise<Outcome> => {
        const path = resolve(file);
        const agent = options.agent === undefined ? agentOfFolder(path) : agentArgument(options.agent);
        const client = await context.client();
        const work = { onProgress: context.progress };
        const reply = await client.admin("agents.import_vlindercli", { agent, path }, work);
        return { json: reply, people: () => vlinderCliBlocks(reply) };
      }),
    );
}

/** `<agent>/state.db`, or `<agent>/sessions/<id>/state.db`. */
function agentOfFolder(path: string): AgentName {
  const folder = dirname(path);
  const sessions = dirname(folder);
  const name = basename(basename(sessions) === "sessions" ? dirname(sessions) : folder);
  try {
    return agentArgument(name);
  } catch {
    throw new UsageError(`the folder of ${path} is not called like an agent`, "name it with --agent NAME");
  }
}

function vlinderCliBlocks({ agent, commits, values, bytes, branches, findings }: VlinderCliImportReply): Block[] {
  return [
    [green("imported "), `${agent}: ${counted(commits, "commit")}, ${counted(values, "value")}, ${size(bytes)}`],
    {
      columns: [{ head: "branch" }, { head: "state" }, { head: "VlinderCLI's commit" }],
      rows: branches.map(({ name, state, original }) => [name, shortHash(state), original.slice(0, 12)]),
    },
    ...findingBlocks(findings, "all of it was mapped", "not mapped as it was:"),
    ["next: ", bold(`vlinder log ${agent}`), dim("   and vlinder agent add DIR, where its code is")],
  ];
}

function defineAgentVault(command: Command, act: Act): void {
  command
    .command("agentvault")
    .description("bring the tables of an AgentVault or Agno file, or of any SQLite file, as a new agent")
    .argument("<file.db>", "the file, on the daemon's machine; it is only read")
    .option("--name <agent>", "the new agent's name; else the file's, in lower case with - for what a name can't have")
    .action(
      act(async (context, file: string, options: { name?: string }): Promise<Outcome> => {
        const path = resolve(file);
        const agent = options.name === undefined ? agentOfFile(path) : agentArgument(options.name);
        const client = await context.client();
        const work = { onProgress: context.progress };
        const reply = await client.admin("agents.import_agentvault", { agent, path }, work);
        return { json: reply, people: () => agentVaultBlocks(reply) };
      }),
    );
}

/** `Research_Assistant.db` → `research-assistant`. */
function agentOfFile(path: string): AgentName {
  const name = basename(path)
    .replace(/\.(?:db|db3|sqlite|sqlite3)$/i, "")
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-|-$/g, "");
  try {
    return agentArgument(name);
  } catch {
    throw new UsageError(`no agent can be called like ${path}`, "name it with --name NAME");
  }
}

function agentVaultBlocks(reply: AgentVaultImportReply): Block[] {
  const { agent, commits, rows, bytes, tables, more, findings } = reply;
  return [
    [
      green("imported "),
      `${agent}: ${counted(rows, "row")} of ${counted(tables.length + more, "table")}, ${size(bytes)}, in ${counted(commits, "commit")}`,
    ],
    {
      columns: [{ head: "table" }, { head: "rows", right: true }, { head: "commits", right: true }, { head: "keys" }],
      rows: tables.map((one) => [one.table, count(one.rows), count(one.commits), `${one.prefix}…`]),
    },
    ...(more === 0 ? [] : [dim(`and ${counted(more, "table")} more`)]),
    ...findingBlocks(findings, "all of it came", "did not come, or not as it was:"),
    ["next: ", bold(`vlinder log ${agent}`), dim("   and vlinder agent add DIR, where its code is")],
  ];
}

function findingBlocks(findings: readonly ImportFinding[], none: string, some: string): Block[] {
  if (findings.length === 0) return [dim(none)];
  return [
    [yellow(some)],
    {
      columns: [{ right: true }, {}, {}, {}],
      rows: findings.map(({ what, count: n, done, examples }) => [count(n), what, done, dim(examples.join(", "))]),
    },
  ];
}
