import { HOW, METHOD } from "./explanation.ts";
import { figure } from "./figures.ts";
import type { Machine } from "./machine.ts";
import { type Ratio, type Report, verdictOf } from "./report.ts";
import type { Sizes } from "./sizes.ts";

/** The whole result as Markdown, ratios first. */
export function markdown(report: Report, machine: Machine, sizes: Sizes): string {
  const judged = report.ratios.filter(({ limit }) => limit !== null);
  const told = report.ratios.filter(({ limit }) => limit === null);
  const count = (verdict: ReturnType<typeof verdictOf>): number =>
    judged.filter((ratio) => verdictOf(ratio) === verdict).length;
  const parts = [
    "# Measurements",
    "Made by `npm run bench -- --write`; do not edit. Absolute figures belong to the machine and to the " +
      "moment. What is compared was measured in turns (A, B, A, B) in one run, and a ratio is the median of " +
      "the rounds' ratios: read those.",
    ...report.failures.map(([section]) => `**The section \`${section}\` broke off: its lines are missing.**`),
    "## What must hold",
    `${count("ok")} of ${judged.length} hold. *must*: \`npm run bench\` ends with code 1 when it does not hold. ` +
      "*aim*: wanted, and said so when it is not reached.",
    table(
      ["", "what", "measured", "limit", "", "of"],
      judged.map((ratio) => [
        ratio.limit?.kind ?? "",
        ratio.what,
        value(ratio),
        limit(ratio),
        verdict(ratio),
        ratio.of,
      ]),
    ),
    ...(told.length === 0
      ? []
      : [
          "For comparison:",
          table(
            ["what", "measured", "of"],
            told.map((ratio) => [ratio.what, value(ratio), ratio.of]),
          ),
        ]),
    "## The run",
    table(
      ["", ""],
      Object.entries(machine).map(([name, text]) => [name, text]),
    ),
    HOW,
    ...report.tables.flatMap(({ title, columns, rows, notes }) => [`## ${title}`, table(columns, rows), ...notes]),
    METHOD(sizes),
  ];
  return `${parts.join("\n\n")}\n`;
}

function value({ value: number, unit }: Ratio): string {
  return Number.isNaN(number) ? "–" : withUnit(number, unit);
}

function limit({ limit: wanted, unit }: Ratio): string {
  return wanted === null ? "" : `${wanted.bound} ${withUnit(wanted.value, unit)}`;
}

function withUnit(number: number, unit: string): string {
  return `${figure(number)}${unit === "×" ? "" : " "}${unit}`;
}

function verdict(ratio: Ratio): string {
  const found = verdictOf(ratio);
  return found === "broken" ? "**NOT ok**" : (found ?? "");
}

function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(columns), `|${columns.map(() => "---|").join("")}`, ...rows.map(line)].join("\n");
}
