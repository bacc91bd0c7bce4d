import type { AgentName, ShowReply } from "@vlinder/protocol";
import { agentArgument, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Block, Outcome } from "../outcome.ts";
import { dim, green, red, yellow } from "../render/color.ts";
import { callFacts } from "../render/call.ts";
import { conflictBlocks } from "../render/conflicts.ts";
import { eventText } from "../render/event.ts";
import { short } from "../render/hash.ts";
import { counted, size } from "../render/size.ts";
import { facts } from "../render/table.ts";
import { ago } from "../render/time.ts";

export const defineShow: Define = (command, act) => {
  command
    .argument("<agent>")
    .argument("<commit>", "a commit, or a branch for its newest")
    .action(
      act(async (context, name: string, commit: string): Promise<Outcome> => {
        const [agent, ref] = [agentArgument(name), refArgument(commit)];
        const reply = await (await context.client()).request(agent, "timeline.show", { ref });
        return { json: reply, people: () => showBlocks(agent, reply) };
      }),
    );
};

function showBlocks(agent: AgentName, reply: ShowReply): Block[] {
  const { changes, changed, contract, conflicts = [] } = reply;
  const { info, kind, values } = reply.event;
  const isCall = kind === "call";
  const result = kind === "effect" ? values?.["result"] : undefined;
  return [
    facts([
      ["commit", yellow(reply.hash)],
      ["event", eventText(reply)],
      ...(isCall ? callFacts(reply.event) : []),
      ["about", info === undefined || isCall ? null : JSON.stringify(info)],
      ["result", result === undefined ? null : `${short(result[0])}, ${size(result[1])}`],
      ["time", reply.time === null ? null : `${reply.time}   ${ago(reply.time)}`],
      ["parents", reply.parents.length === 0 ? "none: it is the first" : reply.parents.map(short).join(", ")],
      ["snapshot", short(reply.snapshot)],
      ["contract", contract === null ? null : short(contract)],
      ["session", reply.session],
      ["turn", reply.turn],
      ["device", reply.device === null ? null : short(reply.device)],
      ["holds", `${counted(reply.keys, "key")}, ${counted(reply.vectors, "vector")}, ${size(reply.bytes)}`],
    ]),
    ...(changes.length === 0 ? [] : [""]),
    {
      columns: [{}, {}, { right: true }, {}],
      rows: changes.map(({ space, key, hash, size: bytes }) => [
        hash === null ? red("-") : green("+"),
        space === "vectors" ? [key, dim(" (vector)")] : key,
        hash === null ? "" : size(bytes),
        hash === null ? red("deleted") : dim(short(hash)),
      ]),
    },
    ...(changed > changes.length ? [dim(`${counted(changed, "change")} in all`)] : []),
    ...(conflicts.length === 0 ? [] : [""]),
    ...conflictBlocks(agent, conflicts, ({ at }) => short(reply.parents.find((parent) => parent !== at) ?? at)),
  ];
}
