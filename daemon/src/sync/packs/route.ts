import type { Hash } from "@vlinder/protocol";
import type { AgentListing } from "../listing.ts";
import type { Mark } from "./mark.ts";
import type { Marks } from "./marks.ts";
import type { PackLedger } from "./pack-ledger.ts";

/**
 * The way from the packs that a head names to those that are to be fetched, where some were replaced since, and to what can be
 * known of packs without fetching them: a machine that has all that the replaced ones held has what their replacements hold.
 */
export class Route {
  readonly #listing: AgentListing;
  readonly #marks: Marks;
  readonly #state: PackLedger;

  constructor(listing: AgentListing, marks: Marks, state: PackLedger) {
    this.#listing = listing;
    this.#marks = marks;
    this.#state = state;
  }

  /** Reads the marks of packs that are known here: what they say is used by all that follows. */
  async begin(): Promise<void> {
    for (const { name } of [...this.#state.packs(), ...this.#state.replacedPacks()]) await this.#marks.of(name);
    // A replacement may have been replaced since.
    for (let before = -1; before !== this.#marks.read().length;) {
      before = this.#marks.read().length;
      for (const { by } of this.#marks.read()) for (const { name } of by) await this.#marks.of(name);
    }
  }

  /** The packs that replace known ones, though no head may name them: who replaced them may have been cut off. */
  replacements(): Hash[] {
    const live = new Set(this.#state.packs().map(({ name }) => name));
    const marks = this.#marks.read().filter(({ packs }) => packs.some((pack) => live.has(pack)));
    return marks.flatMap(({ after, by }) => [...after, ...by.map(({ name }) => name)]);
  }

  /** What is to be fetched for these packs, in order; each only once. */
  async plan(packs: readonly Hash[]): Promise<Hash[]> {
    const wanted: Hash[] = [];
    const planned = new Set<Hash>();
    for (const pack of packs) await this.#visit(pack, wanted, planned);
    return wanted;
  }

  async #visit(pack: Hash, wanted: Hash[], planned: Set<Hash>): Promise<void> {
    if (planned.has(pack)) return;
    planned.add(pack);
    if (this.#state.hasPack(pack)) return;
    const mark = await this.#marks.of(pack);
    if (mark !== null && (await this.#canReplace(mark))) {
      for (const name of [...mark.after, ...mark.by.map((one) => one.name)]) await this.#visit(name, wanted, planned);
      return;
    }
    const made = this.#marks.read().find(({ by }) => by.some(({ name }) => name === pack));
    const parts = made === undefined ? null : this.#cheaperParts(made);
    if (made === undefined || parts === null) {
      wanted.push(pack);
      return;
    }
    for (const name of made.after) await this.#visit(name, wanted, planned);
    for (const { name } of made.by) planned.add(name);
    wanted.push(...parts.filter((name) => !wanted.includes(name)));
  }

  /** What a replacement was made of and is not here, when it is there still and has fewer bytes. */
  #cheaperParts({ packs, by, left }: Mark): Hash[] | null {
    if (left === null) return null;
    const parts = packs.filter((name) => !this.#state.hasPack(name));
    if (parts.length === packs.length) return null;
    const bytes = (names: readonly Hash[]): number =>
      names.reduce((sum, name) => sum + (this.#listing.packs.get(name) ?? Number.POSITIVE_INFINITY), 0);
    const whole = bytes(by.map(({ name }) => name).filter((name) => !this.#state.hasPack(name)));
    return bytes(parts) < whole ? parts : null;
  }

  /** Whether all that replaces these packs is there, or was replaced itself. */
  async #canReplace({ by, left }: Mark, asked = new Set<Hash>()): Promise<boolean> {
    if (by.length === 0) return left !== null;
    for (const { name } of by) {
      if (this.#listing.packs.has(name) || this.#state.hasPack(name) || asked.has(name)) continue;
      asked.add(name);
      const next = await this.#marks.of(name);
      if (next === null || !(await this.#canReplace(next, asked))) return false;
    }
    return true;
  }

  /**
   * What marks say of packs that are known here: replacements are known too where all that they hold is, and
   * what is replaced is named no more.
   */
  async adopt(): Promise<void> {
    let changed = true;
    while (changed) {
      changed = false;
      for (const mark of this.#marks.read()) {
        if (this.#claim(mark)) changed = true;
        if (await this.#replace(mark)) changed = true;
      }
    }
  }

  #claim({ packs, by, left }: Mark): boolean {
    if (left === null || !packs.every((name) => this.#state.hasPack(name))) return false;
    const unknown = by.filter(({ name }) => !this.#state.hasPack(name));
    const { packs: there, marks } = this.#listing;
    if (unknown.length === 0 || !by.every(({ name }) => there.has(name) || marks.has(name))) return false;
    for (const { name, raw } of unknown) this.#state.claim(name, there.get(name) ?? 0, raw);
    return true;
  }

  async #replace(mark: Mark): Promise<boolean> {
    const { packs, by, left } = mark;
    const live = new Set(this.#state.packs().map(({ name }) => name));
    const replaced = packs.filter((name) => live.has(name));
    if (replaced.length === 0 || (by.length === 0 && left === null)) return false;
    if (!by.every(({ name }) => this.#state.hasPack(name))) return false;
    // What the marking machine had before these packs, with what stands in their place, is whole: the others may need it.
    const before = new Set(this.#state.replacedPacks().map(({ name }) => name));
    const lacking = await this.#leftSince(mark, before);
    this.#state.replace(replaced, lacking, await this.#marks.behind(packs), (now) => this.#closed(mark, now));
    return true;
  }

  /**
   * What is left out by a mark and by those of its replacements that were replaced before it counted here: a pack may come to be known after
   * what stands for it is gone. Null: not known.
   */
  async #leftSince({ by, left }: Mark, replaced: Set<Hash>): Promise<Hash[] | null> {
    if (left === null) return null;
    const found = new Set(left);
    for (const { name } of by) {
      // Each is asked once.
      if (!replaced.delete(name)) continue;
      const next = await this.#marks.of(name);
      const more = next === null ? null : await this.#leftSince(next, replaced);
      if (more === null) return null;
      for (const hash of more) found.add(hash);
    }
    return [...found];
  }

  /** Packs that are there and together hold what one did that is gone, as far as marks say. */
  async standIns(pack: Hash, asked = new Set<Hash>()): Promise<Hash[]> {
    if (asked.has(pack)) return [];
    asked.add(pack);
    const found: Hash[] = [];
    for (const { name } of (await this.#marks.of(pack))?.by ?? []) {
      found.push(...(this.#listing.packs.has(name) ? [name] : await this.standIns(name, asked)));
    }
    return found;
  }

  /** The packs of now that stand for what stood up to a mark's replacements. */
  #closed(mark: Mark, live: ReadonlySet<Hash>): Hash[] {
    const found = new Set<Hash>();
    const asked = new Set<Mark>();
    const take = (one: Mark): void => {
      if (asked.has(one)) return;
      asked.add(one);
      for (const name of [...one.after, ...one.by.map((by) => by.name)]) {
        if (live.has(name)) found.add(name);
        else {
          const next = this.#marks.read().find(({ packs }) => packs.includes(name));
          if (next !== undefined) take(next);
        }
      }
    };
    take(mark);
    return [...found];
  }
}
