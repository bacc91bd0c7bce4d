import { byPrefix, type Entry, pageOf } from "./run.ts";

/** Entries on their way into a run, in 20 bytes each: there may be hundreds of thousands, since what waits grows while large runs are merged. */
export class PagedEntries {
  readonly #pages: number;
  #prefixes: Float64Array;
  #locations: Float64Array;
  #size = 0;
  /** Entries by their pages, and where in that list those of each page begin; null: it is not made yet. */
  #order: { readonly entries: Uint32Array; readonly starts: Uint32Array } | null = null;

  /** @param room for so many, or more */
  constructor(pages: number, room: number) {
    this.#pages = pages;
    this.#prefixes = new Float64Array(room);
    this.#locations = new Float64Array(room);
  }

  /** Before the first page is taken. */
  add(prefix: number, location: number): void {
    if (this.#size === this.#prefixes.length) this.#grow();
    this.#prefixes[this.#size] = prefix;
    this.#locations[this.#size++] = location;
  }

  /** Those of a page, in order. */
  page(page: number): Entry[] {
    const { entries, starts } = (this.#order ??= this.#sort());
    const found: Entry[] = [];
    for (let i = starts[page] as number; i < (starts[page + 1] as number); i++) {
      const entry = entries[i] as number;
      found.push([this.#prefixes[entry] as number, this.#locations[entry] as number]);
    }
    return found.sort(byPrefix);
  }

  #sort(): { entries: Uint32Array; starts: Uint32Array } {
    const starts = new Uint32Array(this.#pages + 1);
    const pageAt = (entry: number): number => pageOf(this.#prefixes[entry] as number, this.#pages);
    for (let entry = 0; entry < this.#size; entry++) starts[pageAt(entry) + 1]!++;
    for (let page = 0; page < this.#pages; page++) starts[page + 1]! += starts[page] as number;
    const entries = new Uint32Array(this.#size);
    const next = starts.slice();
    for (let entry = 0; entry < this.#size; entry++) entries[next[pageAt(entry)]!++] = entry;
    return { entries, starts };
  }

  #grow(): void {
    const room = Math.max(64, this.#size * 2);
    const [prefixes, locations] = [this.#prefixes, this.#locations];
    this.#prefixes = new Float64Array(room);
    this.#prefixes.set(prefixes);
    this.#locations = new Float64Array(room);
    this.#locations.set(locations);
  }
}
