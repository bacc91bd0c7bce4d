import type { BranchItem, CommitItem, Hash } from "@vlinder/protocol";
import type { Block } from "../outcome.ts";
import { bold, dim } from "../render/color.ts";
import { eventText, origin } from "../render/event.ts";
import { GraphLanes } from "../render/graph.ts";
import { shortHash } from "../render/hash.ts";
import { ago } from "../render/time.ts";
import type { Span } from "../render/text.ts";
import type { LogPage } from "./log-pages.ts";

/** Names that are shown at one commit. */
const MOST_NAMES = 5;

/** The lines of a graph, page by page as they come; in the end, how to see more. */
export async function* graphBlocks(
  branches: readonly BranchItem[],
  pages: AsyncIterable<LogPage>,
  more: (next: Hash | null) => Block[],
): AsyncGenerator<{ readonly json: object; readonly people: readonly Block[] }> {
  const names = new Map<Hash, BranchItem[]>();
  for (const branch of branches) names.set(branch.head, [...(names.get(branch.head) ?? []), branch]);
  const lanes = new GraphLanes();
  let next: Hash | null = null;
  for await (const page of pages) {
    yield { json: {}, people: page.items.flatMap((item) => rowsOf(lanes, item, names.get(item.hash) ?? [])) };
    ({ next } = page);
  }
  yield { json: {}, people: more(next) };
}

function rowsOf(lanes: GraphLanes, item: CommitItem, branches: readonly BranchItem[]): Block[] {
  const { above, beside, below } = lanes.next(item);
  const line = [
    ...beside,
    shortHash(item.hash),
    " ",
    ...namesOf(branches),
    ...eventText(item),
    dim(`  ${[ago(item.time), origin(item)].filter((one) => one !== "").join("  ")}`),
  ];
  return [...above, line, ...below];
}

function namesOf(branches: readonly BranchItem[]): (string | Span)[] {
  if (branches.length === 0) return [];
  const shown = branches
    .slice(0, MOST_NAMES)
    .flatMap(({ name, sealed }, i) => [...(i === 0 ? [] : [", "]), bold(name), ...(sealed ? [dim(" sealed")] : [])]);
  const rest = branches.length - MOST_NAMES;
  return ["(", ...shown, ...(rest > 0 ? [`, ${rest} more`] : []), ") "];
}
