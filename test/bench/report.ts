import type { SectionName } from "./options.ts";

/** `must`: the bench fails when it does not hold. `aim`: where this is going. */
export interface Limit {
  readonly kind: "must" | "aim";
  readonly bound: "at most" | "at least";
  readonly value: number;
}

export interface Ratio {
  readonly section: SectionName;
  readonly what: string;
  readonly value: number;
  /** Behind the number: `x`, `KB`. */
  readonly unit: string;
  /** What was divided by what, with units. */
  readonly of: string;
  readonly limit: Limit | null;
}

export interface Table {
  readonly section: SectionName;
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly notes: readonly string[];
}

export function holds({ value, limit }: Ratio): boolean {
  if (limit === null) return true;
  return limit.bound === "at most" ? value <= limit.value : value >= limit.value;
}

/** What the sections found. */
export class Report {
  readonly ratios: Ratio[] = [];
  readonly tables: Table[] = [];

  ratio(ratio: Omit<Ratio, "unit"> & { readonly unit?: string }): void {
    this.ratios.push({ unit: "x", ...ratio });
  }

  table(table: Omit<Table, "notes"> & { readonly notes?: readonly string[] }): void {
    this.tables.push({ notes: [], ...table });
  }

  get broken(): Ratio[] {
    return this.ratios.filter((ratio) => ratio.limit?.kind === "must" && !holds(ratio));
  }
}

export const must = (bound: Limit["bound"], value: number): Limit => ({ kind: "must", bound, value });
export const aim = (bound: Limit["bound"], value: number): Limit => ({ kind: "aim", bound, value });

/** Three digits that mean something. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}

export function milliseconds(value: number): string {
  return `${figure(value)} ms`;
}

export function perSecond(value: number): string {
  return `${figure(value)}/s`;
}

export function kilobytes(bytes: number): string {
  return `${figure(bytes / 1024)} KB`;
}

export function megabytes(bytes: number): string {
  return `${figure(bytes / 1024 / 1024)} MB`;
}
