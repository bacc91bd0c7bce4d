import type { AgentName, ConflictItem } from "@vlinder/protocol";
import type { Block } from "../outcome.ts";
import { dim, yellow } from "./color.ts";
import { short } from "./hash.ts";
import { shellQuoted } from "./shell.ts";
import { counted } from "./size.ts";
import type { Text } from "./text.ts";

/** Places of one key that are shown. */
const SHOWN_PLACES = 3;

const REASONS: Readonly<Record<string, string>> = {
  "not-json": "not JSON on every side",
  "not-text": "not text on every side",
  "too-large": "too large to be merged",
  erased: "a version of it was erased",
};

/** Keys that both sides of a merge changed: what was decided, and how to see the other version. */
export function conflictBlocks(
  agent: AgentName,
  conflicts: readonly ConflictItem[],
  whose: (one: ConflictItem) => string,
): Block[] {
  if (conflicts.length === 0) return [];
  const seen = conflicts.find(({ space }) => space === "kv");
  return [
    yellow(`${counted(conflicts.length, "key")} changed on both sides:`),
    {
      columns: [{ head: "key" }, { head: "stays" }, { head: "the other value" }],
      rows: conflicts.map((one): Text[] => [
        one.space === "vectors" ? [one.key, dim(" (vector)")] : one.key,
        decided(one, whose(one)),
        one.kept ?? `--at ${short(one.at)}`,
      ]),
    },
    ...(seen === undefined
      ? []
      : [dim(`see the other: vlinder kv get ${agent} ${shellQuoted(seen.key)} --at ${short(seen.at)}`)]),
  ];
}

function decided({ winner, places, why }: ConflictItem, whose: string): string {
  if (places !== undefined) return `merged; at ${placesText(places)} ${whose}`;
  if (winner === null) return `${whose}: deleted`;
  return why === undefined ? whose : `${whose}; ${REASONS[why] ?? why}`;
}

function placesText(places: readonly string[]): string {
  const shown = places.slice(0, SHOWN_PLACES).map(placeText).join(", ");
  return places.length > SHOWN_PLACES ? `${shown} and more` : shown;
}

/** A JSON pointer, or lines as `first,count`. */
function placeText(place: string): string {
  const lines = /^(\d+),(\d+)$/.exec(place);
  if (lines === null) return place === "" ? "the document" : place;
  const [first, count] = [Number(lines[1]), Number(lines[2])];
  if (count === 0) return `before line ${first}`;
  return count === 1 ? `line ${first}` : `lines ${first} to ${first + count - 1}`;
}
