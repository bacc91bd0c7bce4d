import type { DiffItem } from "@vlinder/protocol";
import type { JsonChange } from "../../state/documents/json-diff.ts";
import type { Hunk } from "../../state/documents/text-diff.ts";
import { dim, green, red } from "../render/color.ts";
import { counted, size } from "../render/size.ts";
import type { Span, Text } from "../render/text.ts";
import { MOST_BYTES, MOST_KEYS, type ValueDiff } from "./value-diff.ts";

/** Lines that are shown of one value, and characters of one line. */
const MOST_LINES = 200;
const MOST_CHARACTERS = 400;
const INDENT = "     ";

type Sides = Pick<DiffItem, "from" | "to">;

/** What a person sees of how a value differs, below the line of its key. */
export function valueDiffLines(item: Sides, diff: ValueDiff): Text[] {
  const lines = linesOf(item, diff);
  const rest = lines.length - MOST_LINES;
  const shown: Text[] = rest <= 0 ? lines : [...lines.slice(0, MOST_LINES), dim(`… ${counted(rest, "line")} more`)];
  return shown.map((line): Text => [INDENT, ...[line].flat()]);
}

function linesOf({ from, to }: Sides, diff: ValueDiff): Text[] {
  switch (diff.kind) {
    case "json":
      return diff.changes.length === 0 ? [dim("the same JSON, spelled differently")] : diff.changes.flatMap(jsonLines);
    case "text":
      return diff.hunks.flatMap(hunkLines);
    case "binary":
      return [dim(`binary, ${sizes(from, to)}`)];
    case "vector":
      return [dim(diff.moved ? "other components" : "the same components"), ...diff.about.flatMap(jsonLines)];
    case "left-out":
      return [dim(`not compared: ${reason(diff.why)}, ${sizes(from, to)}`)];
  }
}

function sizes(from: DiffItem["from"], to: DiffItem["to"]): string {
  return [from, to].flatMap((side) => (side === null ? [] : [size(side.size)])).join(" → ");
}

function reason(why: string): string {
  if (why === "too-large") return `over ${size(MOST_BYTES)}`;
  return why === "enough" ? `more than ${MOST_KEYS} keys or 64 MB before it (narrow it with --prefix)` : why;
}

function jsonLines({ op, path, from = "", to = "" }: JsonChange): Text[] {
  const at = path === "" ? "(all)" : path;
  switch (op) {
    case "add":
      return [[green(`+ ${at}`), "  ", cut(to)]];
    case "remove":
      return [[red(`- ${at}`), "  ", cut(from)]];
    case "change":
      return [[`~ ${at}`, "  ", red(cut(from)), " → ", green(cut(to))]];
    case "reorder":
      return [`~ ${at}  items in another order`];
  }
}

function hunkLines({ from, to, lines }: Hunk): Text[] {
  const place = ([start, count]: readonly [number, number]): string => (count === 1 ? `${start}` : `${start},${count}`);
  // Of a value that came or went there is nothing to say where.
  const isWhole = from[0] + from[1] === 0 || to[0] + to[1] === 0;
  return [...(isWhole ? [] : [dim(`@@ -${place(from)} +${place(to)} @@`)]), ...lines.map(tinted)];
}

function tinted(line: string): Span | string {
  const text = cut(line);
  if (line.startsWith("+")) return green(text);
  if (line.startsWith("-")) return red(text);
  return line.startsWith("\\") ? dim(text) : text;
}

function cut(text: string): string {
  return text.length <= MOST_CHARACTERS ? text : `${text.slice(0, MOST_CHARACTERS).toWellFormed()}…`;
}
