import { LINES, type Limit, type RatioName } from "./limits.ts";
import type { SectionName } from "./options.ts";
import type { Sizes } from "./sizes.ts";

/** What a section found for a line of `limits.ts`. */
export interface Ratio {
  readonly name: RatioName;
  readonly section: SectionName;
  readonly what: string;
  /** NaN: it could not be measured here; `of` says why. */
  readonly value: number;
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

export type Verdict = "ok" | "not yet" | "broken" | "not measured" | null;

export function verdictOf({ value, limit }: Ratio): Verdict {
  if (limit === null) return null;
  if (Number.isNaN(value)) return "not measured";
  if (limit.bound === "at most" ? value <= limit.value : value >= limit.value) return "ok";
  return limit.kind === "must" ? "broken" : "not yet";
}

/** What the sections found. */
export class Report {
  readonly tables: Table[] = [];
  /** Sections that broke off, and why. */
  readonly failures: (readonly [section: SectionName, why: string])[] = [];
  readonly #sizes: Sizes;
  readonly #ratios = new Map<RatioName, Ratio>();

  constructor(sizes: Sizes) {
    this.#sizes = sizes;
  }

  ratio(section: SectionName, name: RatioName, value: number, of: string): void {
    const { what, limit, unit = "×" } = LINES[name];
    const text = typeof what === "string" ? what : what(this.#sizes);
    this.#ratios.set(name, { name, section, what: text, value, unit, of, limit });
  }

  table(table: Omit<Table, "notes"> & { readonly notes?: readonly string[] }): void {
    this.tables.push({ notes: [], ...table });
  }

  /** In the order of `limits.ts`. */
  get ratios(): Ratio[] {
    return (Object.keys(LINES) as RatioName[]).flatMap((name) => this.#ratios.get(name) ?? []);
  }

  /** Of what must hold: what does not. */
  get broken(): Ratio[] {
    return this.ratios.filter((ratio) => verdictOf(ratio) === "broken");
  }
}
