import type { Machine } from "./machine.ts";
import { figure, holds, type Ratio, type Report } from "./report.ts";

/** The whole result as Markdown, ratios first. */
export function markdown(report: Report, machine: Machine): string {
  const ratios = report.ratios.toSorted((a, b) => rank(a) - rank(b));
  const parts = [
    "# Measurements",
    "Made by `npm run bench -- --write`; do not edit. Absolute figures belong to the machine and to the " +
      "moment. What is compared was measured in turns (A, B, A, B) in one run, and a ratio is the median of " +
      "the rounds' ratios: read those.",
    table(
      ["", ""],
      Object.entries(machine).map(([name, value]) => [name, value]),
    ),
    "## Ratios",
    "*must*: `npm run bench` fails when it does not hold. *aim*: where this is going.",
    table(
      ["", "what", "measured", "limit", "", "of"],
      ratios.map((ratio) => [
        ratio.limit?.kind ?? "",
        ratio.what,
        value(ratio),
        limit(ratio),
        verdict(ratio),
        ratio.of,
      ]),
    ),
    ...report.tables.flatMap(({ title, columns, rows, notes }) => [`## ${title}`, table(columns, rows), ...notes]),
  ];
  return `${parts.join("\n\n")}\n`;
}

function rank({ limit }: Ratio): number {
  return limit === null ? 2 : ["must", "aim"].indexOf(limit.kind);
}

function value({ value: number, unit }: Ratio): string {
  return `${figure(number)}${unit === "x" ? "×" : ` ${unit}`}`;
}

function limit({ limit: wanted, unit }: Ratio): string {
  return wanted === null ? "" : `${wanted.bound} ${figure(wanted.value)}${unit === "x" ? "×" : ` ${unit}`}`;
}

function verdict(ratio: Ratio): string {
  if (ratio.limit === null) return "";
  if (holds(ratio)) return "ok";
  return ratio.limit.kind === "must" ? "**NOT ok**" : "not yet";
}

function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(columns), `|${columns.map(() => "---|").join("")}`, ...rows.map(line)].join("\n");
}
