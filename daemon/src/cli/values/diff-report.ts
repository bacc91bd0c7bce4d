import type { Client } from "@vlinder/agent-runtime";
import type { AgentName, DiffItem, Hash } from "@vlinder/protocol";
import type { Block } from "../outcome.ts";
import { dim, green, red, yellow } from "../render/color.ts";
import { count, size } from "../render/size.ts";
import type { Text } from "../render/text.ts";
import { type ValueDiff, ValueDiffs } from "./value-diff.ts";
import { valueDiffLines } from "./value-diff-lines.ts";

/** Keys that differ between two states, and how many there are of each kind. */
export interface Differences {
  readonly from: Hash | null;
  readonly to: Hash;
  readonly items: readonly DiffItem[];
}

export interface Counts {
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
}

export function countsOf(items: readonly DiffItem[]): Counts {
  const added = items.filter(({ from }) => from === null).length;
  const removed = items.filter(({ to }) => to === null).length;
  return { added, changed: items.length - added - removed, removed };
}

/** 2 added, 1 changed; empty for none. */
export function countsText(counts: Counts): string {
  return (["added", "changed", "removed"] as const)
    .flatMap((kind) => (counts[kind] === 0 ? [] : [`${count(counts[kind])} ${kind}`]))
    .join(", ");
}

/** What became of a key: a mark, the key, its size before and after. */
export function differenceRow({ space, key, from, to }: DiffItem): Text[] {
  const shown: Text = space === "vectors" ? [key, dim(" (vector)")] : key;
  if (from === null) return [green("+"), shown, to === null ? "" : size(to.size)];
  if (to === null) return [red("-"), shown, size(from.size)];
  return [yellow("~"), shown, from.size === to.size ? size(to.size) : `${size(from.size)} → ${size(to.size)}`];
}

export function differenceTable(items: readonly DiffItem[]): Block {
  return { columns: [{}, {}, {}], rows: items.map(differenceRow) };
}

type WithValues = DiffItem & { readonly values: ValueDiff };

async function* compared(
  client: Client,
  agent: AgentName,
  { from, to, items }: Differences,
): AsyncGenerator<WithValues> {
  const diffs = new ValueDiffs(client, agent, from, to);
  for (const item of items) yield { ...item, values: await diffs.of(item) };
}

/** The items with how their values differ. */
export async function withValues(
  client: Client,
  agent: AgentName,
  differences: Differences,
): Promise<readonly WithValues[]> {
  const all: WithValues[] = [];
  for await (const item of compared(client, agent, differences)) all.push(item);
  return all;
}

/** The same for people, as it is compared: each key with what changed in it below. */
export async function* valueBlocks(
  client: Client,
  agent: AgentName,
  differences: Differences,
): AsyncGenerator<readonly Block[]> {
  for await (const item of compared(client, agent, differences)) {
    const [mark, key, sizes] = differenceRow(item) as [Text, Text, Text];
    yield [[...[mark].flat(), "  ", ...[key].flat(), "  ", ...[sizes].flat()], ...valueDiffLines(item, item.values)];
  }
}
