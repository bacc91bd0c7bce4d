import type { AgentItem } from "@vlinder/protocol";
import { errorLines } from "../failure.ts";
import type { Block } from "../outcome.ts";
import { dim, red } from "./color.ts";
import { shortHash } from "./hash.ts";
import { count, size } from "./size.ts";
import { limitWarning } from "./space.ts";
import { processLines, processText } from "./process.ts";
import type { Text } from "./text.ts";
import { ago } from "./time.ts";

/** Agents as a table, and under it what keeps some from being served. */
export function agentBlocks(items: readonly AgentItem[]): Block[] {
  if (items.length === 0) return [dim("no agent is registered; `vlinder agent new DIR` makes one to start from")];
  const rows = items.map((item): Text[] =>
    item.error === null
      ? [
          item.agent,
          processText(item.process),
          item.branch,
          shortHash(item.state),
          count(item.keys),
          count(item.vectors),
          size(item.size),
          ago(item.time),
          item.dir ?? "",
        ]
      : [item.agent, processText(item.process), red("not served"), "", "", "", "", "", item.dir ?? ""],
  );
  return [
    {
      columns: [
        { head: "agent" },
        { head: "process" },
        { head: "branch" },
        { head: "state" },
        { head: "keys", right: true },
        { head: "vectors", right: true },
        { head: "size", right: true },
        { head: "last change" },
        { head: "folder" },
      ],
      rows,
    },
    ...items.flatMap(({ agent, size: used, limit }): Block[] => {
      const warning = limitWarning(agent, used, limit);
      return warning === null ? [] : [warning];
    }),
    ...items.flatMap(({ agent, error }): Block[] => (error === null ? [] : [`${agent}:`, ...errorLines(error)])),
    ...items.flatMap(({ agent, process }) => processLines(agent, process)),
  ];
}
