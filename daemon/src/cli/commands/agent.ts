import { resolve } from "node:path";
import type { AgentDetails, PlanReply, ProcessItem, RegisterReply } from "@vlinder/protocol";
import { agentArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import { PATIENT } from "../context.ts";
import type { Block, Outcome } from "../outcome.ts";
import { agentBlocks } from "../render/agents.ts";
import { processFact, processLines } from "../render/process.ts";
import { bold, dim, green, yellow } from "../render/color.ts";
import { short, shortHash } from "../render/hash.ts";
import { shellQuoted } from "../render/shell.ts";
import { counted, size } from "../render/size.ts";
import { spaceText } from "../render/space.ts";
import { facts } from "../render/table.ts";
import { ago } from "../render/time.ts";

export const defineAgent: Define = (command, act) => {
  command
    .command("new")
    .description("write a small agent to start from")
    .argument("<dir>", "a folder that is empty or not there yet")
    .action(
      act(async (_context, dir: string): Promise<Outcome> => {
        const { writeTemplate } = await import("../../registry/template.ts");
        const made = await writeTemplate(dir);
        return {
          json: { agent: made.name, files: made.files, link: made.link },
          people: () => [
            ...made.files.map((file) => [green("made "), file]),
            ...(made.link === null
              ? []
              : [[green("link "), made.link, dim("   to vlinder's own; npm install makes a copy")]]),
            [
              "next: ",
              bold(`vlinder agent add ${shellQuoted(dir)}`),
              "   then   ",
              bold(`vlinder run ${made.name} -m hello`),
            ],
          ],
        };
      }),
    );
  command
    .command("plan")
    .description("what registration would provision; nothing is done")
    .argument("<dir>", "the folder of agent.toml")
    .action(
      act(async (context, dir: string): Promise<Outcome> => {
        const reply = await (await context.client()).admin("agents.plan", { dir: resolve(dir) });
        return { json: reply, people: () => planBlocks(reply, dir) };
      }),
    );
  command
    .command("add")
    .description("register an agent, or take over its edited agent.toml")
    .argument("<dir>", "the folder of agent.toml")
    .action(
      act(async (context, dir: string): Promise<Outcome> => {
        const client = await context.client();
        const reply = await client.admin("agents.register", { dir: resolve(dir) }, PATIENT);
        const { process } = context.json
          ? { process: null }
          : await client.admin("agents.show", { agent: reply.agent });
        return { json: reply, people: () => registerBlocks(reply, process) };
      }),
    );
  command
    .command("list")
    .description("every agent here")
    .action(
      act(async (context): Promise<Outcome> => {
        const reply = await (await context.client()).admin("agents.list");
        return { json: reply, people: () => agentBlocks(reply.items) };
      }),
    );
  command
    .command("show")
    .description("one agent: its storage, credentials, agent.toml")
    .argument("<agent>")
    .action(
      act(async (context, name: string): Promise<Outcome> => {
        const agent = agentArgument(name);
        const reply = await (await context.client()).admin("agents.show", { agent });
        return { json: reply, people: () => detailBlocks(reply) };
      }),
    );
  command
    .command("restart")
    .description("end the process that the daemon runs for an agent, and start it anew")
    .argument("<agent>")
    .action(
      act(async (context, name: string): Promise<Outcome> => {
        const agent = agentArgument(name);
        const reply = await (await context.client()).admin("agents.restart", { agent }, PATIENT);
        const { process } = reply;
        return {
          json: reply,
          failed: process.state === "failed",
          people: () => [facts([["process", processFact(process)]]), ...processLines(agent, process)],
        };
      }),
    );
  command
    .command("remove")
    .description("end an agent's registration; its data stays")
    .argument("<agent>")
    .option("--purge", "delete its data on this machine, too")
    .action(
      act(async (context, name: string, options: { purge?: boolean }): Promise<Outcome> => {
        const agent = agentArgument(name);
        const purge = options.purge === true;
        const reply = await (await context.client()).admin("agents.remove", { agent, purge }, PATIENT);
        if (purge) await (await import("../talk/line-history.ts")).dropHistory(agent);
        return {
          json: reply,
          people: () => [
            `${agent} is removed${purge ? ", and its data on this machine deleted" : ""}`,
            ...(reply.kept === null ? [] : [dim(`kept: ${reply.kept}`)]),
          ],
        };
      }),
    );
};

function planBlocks({ agent, steps, registered }: PlanReply, dir: string): Block[] {
  if (steps.length === 0) return [`${agent}: nothing to do, it is registered as agent.toml says`];
  return [
    `${agent}${registered ? "" : " (new)"}: registration would`,
    {
      columns: [{ right: true }, {}, {}],
      rows: steps.map(({ what, detail }, index) => [`${index + 1}`, what, dim(detail)]),
    },
    ["nothing was done; next: ", bold(`vlinder agent add ${shellQuoted(dir)}`)],
  ];
}

const RESULTS: Readonly<Record<RegisterReply["result"], string>> = {
  created: "registered",
  updated: "taken over anew",
  adopted: "adopted: it came from the bucket and has this folder now",
  unchanged: "registered already, and unchanged",
};

function registerBlocks(reply: RegisterReply, process: ProcessItem | null): Block[] {
  const { agent, storage } = reply;
  const first = process === null ? `vlinder kv put ${agent} /hello.txt hello` : `vlinder run ${agent} -m hello`;
  return [
    facts([
      ["agent", [green(agent), `   ${RESULTS[reply.result]}`]],
      ["objects", storage.objects],
      ["vectors", storage.vectors ?? "none declared"],
      ["contract", short(reply.contract)],
      ["state", shortHash(reply.state)],
      ["creds", reply.creds === "" ? "made on the NATS server that config.toml names" : reply.creds],
      ["process", processFact(process)],
    ]),
    ...reply.notes.map((note) => [yellow("note: "), note]),
    ["next: ", bold(first), "   then   ", bold(`vlinder log ${agent}`)],
  ];
}

function detailBlocks(reply: AgentDetails): Block[] {
  const { storage, manifest } = reply;
  return [
    facts([
      ["agent", bold(reply.agent)],
      ["description", reply.description],
      ["folder", reply.dir ?? "none here: it came from the bucket"],
      [
        "state",
        [reply.branch, " ", shortHash(reply.state), `   snapshot ${short(reply.snapshot)}   ${ago(reply.time)}`],
      ],
      ["holds", `${counted(reply.keys, "key")}, ${counted(reply.vectors, "vector")}, ${size(reply.size)}`],
      ["process", processFact(reply.process)],
      ["space", spaceText(reply.space)],
      ["history", `${counted(reply.commits, "commit")} on ${counted(reply.branches, "branch", "branches")}`],
      ["objects", storage.objects],
      ["vectors", storage.vectors ?? "none declared"],
      ["contract", reply.contract === null ? "none" : short(reply.contract)],
      ["creds", reply.creds === "" ? null : reply.creds],
    ]),
    ...processLines(reply.agent, reply.process),
    ...(manifest === null ? [] : ["", dim("agent.toml"), ...manifest.trimEnd().split(/\r?\n/)]),
  ];
}
