import { dim } from "./color.ts";
import { plainText, type Text, widthOf } from "./text.ts";

export interface Column {
  /** Absent in a table without a head. */
  readonly head?: string;
  /** Numbers stand at the right. */
  readonly right?: boolean;
}

export interface Table {
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Text[])[];
}

/** A cell wider than this does not push the other rows apart; only its own row is out of line. */
const WIDEST = 56;
const GAP = "  ";

/** The lines of a table, head first. A column in which every cell is empty is left out. */
export function tableLines({ columns, rows }: Table): Text[] {
  const shown = columns
    .map((column, index) => ({ ...column, index, width: 0 }))
    .filter(({ index }) => rows.some((row) => plainText(row[index] ?? "") !== ""));
  for (const column of shown) {
    const widths = rows.map((row) => widthOf(plainText(row[column.index] ?? ""))).filter((width) => width <= WIDEST);
    column.width = widths.reduce((most, width) => Math.max(most, width), widthOf(column.head ?? ""));
  }
  const line = (cells: readonly Text[]): Text => {
    const spans = shown.flatMap(({ index, right, width }, at) => {
      const cell = cells[index] ?? "";
      const space = " ".repeat(Math.max(0, width - widthOf(plainText(cell))));
      const last = at === shown.length - 1;
      const padded = right === true ? [space, ...[cell].flat()] : [...[cell].flat(), last ? "" : space];
      return [...padded, last ? "" : GAP];
    });
    return spans as Text;
  };
  const head = shown.some(({ head: text }) => text !== undefined)
    ? [line(columns.map(({ head: text }) => dim(text ?? "")))]
    : [];
  return [...head, ...rows.map(line)];
}

/** Names and values side by side, those without a value left out. */
export function facts(pairs: readonly (readonly [name: string, value: Text | null])[]): Table {
  const rows = pairs.filter((pair): pair is readonly [string, Text] => pair[1] !== null);
  return { columns: [{}, {}], rows: rows.map(([name, value]) => [dim(name), value]) };
}
