import type { PullReply } from "@vlinder/protocol";
import { errorLines } from "../failure.ts";
import type { Block } from "../outcome.ts";
import { dim, yellow } from "./color.ts";
import { short, shortHash } from "./hash.ts";
import { count, size } from "./size.ts";

type PulledAgent = PullReply["agents"][number];

/** Main first, the others by name. */
function changedBranches({ branches }: PulledAgent): PulledAgent["branches"] {
  const place = ({ name }: PulledAgent["branches"][number]): string => (name === "main" ? "" : name);
  return branches.filter(({ result }) => result !== "unchanged").toSorted((a, b) => (place(a) < place(b) ? -1 : 1));
}

/** What a pull brought, a line for each branch that is new or moved. */
export function pullBlocks({ agents }: PullReply): Block[] {
  if (agents.length === 0) return [dim("the bucket has no agent yet")];
  const rows = agents.flatMap((item) =>
    changedBranches(item).map((branch, index) => [
      index === 0 ? item.agent : "",
      branch.name,
      item.created && branch.result === "new" ? "new here" : branch.result,
      shortHash(branch.state),
      index === 0 ? count(item.commits) : "",
      index === 0 ? size(item.bytes) : "",
      branch.conflicts === 0 ? "" : yellow(count(branch.conflicts)),
    ]),
  );
  return [
    {
      columns: [
        { head: "agent" },
        { head: "branch" },
        { head: "result" },
        { head: "state" },
        { head: "commits", right: true },
        { head: "fetched", right: true },
        { head: "conflicts", right: true },
      ],
      rows,
    },
    ...agents.flatMap((item): Block[] =>
      changedBranches(item).length === 0 && item.error === null
        ? [dim(`${item.agent}: nothing ${item.branches.length === 0 ? "from another machine" : "new"}`)]
        : [],
    ),
    ...agents.flatMap(({ agent, branches }) =>
      branches
        .filter(({ conflicts }) => conflicts > 0)
        .map(({ state }) => dim(`what was decided: vlinder show ${agent} ${short(state)}`)),
    ),
    ...agents.flatMap(({ agent, notes }) => notes.map((note) => [yellow("note: "), `${agent}: ${note}`])),
    ...agents.flatMap(({ agent, error }): Block[] => (error === null ? [] : [`${agent}:`, ...errorLines(error)])),
  ];
}
