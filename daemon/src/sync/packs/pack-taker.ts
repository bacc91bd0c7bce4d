import { type Hash, VlinderError } from "@vlinder/protocol";
import { ErasedAhead } from "../erasures.ts";
import { PackFeed } from "../pack-feed.ts";
import { type FetchedPack, type PackJob, readPack, takePack, type Taking } from "./take-pack.ts";

/** Packs whose values are stored, or on their way, and whose commits are not yet. */
const UNDER_WAY = 3;

interface Begun {
  /** Ends when all but the commits is stored, or nearly. */
  readonly values: Promise<void>;
  /** Ends with the pack; the error of why it, or one before it, can't be taken. */
  readonly done: Promise<VlinderError | null>;
}

/**
 * Takes packs, each once, and knows which can't be taken. Some are on their way at a time: while the commits of one are checked and stored, the
 * values of the next are. One of which the pack before is refused is not taken either.
 */
export class PackTaker {
  readonly total = { commits: 0, objects: 0, bytes: 0 };
  readonly #job: PackJob;
  readonly #feed: PackFeed<FetchedPack>;
  readonly #failed = new Map<Hash, VlinderError>();
  readonly #expected = new Set<Hash>();

  constructor(job: PackJob) {
    this.#job = job;
    this.#feed = new PackFeed((name) => readPack(job, name));
  }

  /** Packs that are likely to be taken, too: what makes good that something is missing may be in them. */
  expect(packs: readonly Hash[]): void {
    for (const pack of packs) this.#expected.add(pack);
  }

  /** Takes what a head names; the error of a pack that can't be taken. */
  async head(packs: readonly Hash[]): Promise<VlinderError | null> {
    const missing = await this.all(await this.#job.route.plan(packs));
    if (missing === null) return null;
    // What replaced them may lack what was built on them since: they are kept for a while for just that.
    return (await this.all(packs)) === null ? null : missing;
  }

  /**
   * Reads those of these packs, or of what stands for them, of which a mark claims that they hold no more than what is here: as something
   * is not here, it claims too much. Whether there were any.
   */
  async claimed(packs: readonly Hash[]): Promise<boolean> {
    const { route, sizes, state } = this.#job;
    const names = new Set<Hash>();
    for (const pack of packs) for (const name of sizes.has(pack) ? [pack] : await route.standIns(pack)) names.add(name);
    const read = new Set(state.packs().flatMap(({ name, claimed }) => (claimed ? [] : [name])));
    for (const { name } of state.replacedPacks()) read.add(name);
    const doubted = [...names].filter((name) => !read.has(name));
    for (const name of doubted) this.#failed.delete(name);
    if ((await this.#each(doubted)) !== null) return false;
    if (doubted.length > 0) this.#failed.clear();
    return doubted.length > 0;
  }

  /** Those that were refused may be tried again; whether there are any. */
  retryRefused(): boolean {
    const refused = [...this.#failed].filter(([, { code }]) => code === "invalid");
    for (const [pack] of refused) this.#failed.delete(pack);
    return refused.length > 0;
  }

  /** Takes those that are not here, in order, up to the first that can't be taken; the error of that one. */
  all(packs: readonly Hash[]): Promise<VlinderError | null> {
    return this.#each(packs.filter((pack) => !this.#job.state.hasPack(pack)));
  }

  settle(): Promise<void> {
    return this.#feed.settle();
  }

  async #each(packs: readonly Hash[]): Promise<VlinderError | null> {
    const ahead = new ErasedAhead(this.#job.exchange);
    let last: Begun = { values: Promise.resolve(), done: Promise.resolve(null) };
    let failed = false;
    const ended = (error: unknown): void => void (failed ||= error !== null);
    const begun: Promise<void>[] = [];
    try {
      for (const [i, pack] of packs.entries()) {
        last = await this.#begin(pack, packs.slice(i + 1), ahead, last.done);
        begun.push(last.done.then(ended, ended));
        // A pack may wait long for others: no more than these are held.
        await Promise.race([Promise.all([last.values, begun.at(-UNDER_WAY)]), last.done]);
        if (failed) break;
      }
      return await last.done;
    } finally {
      // Also when one throws what nobody foresaw: the bucket is closed behind this.
      await Promise.all(begun);
    }
  }

  /** Reads a pack and begins to take it. */
  async #begin(
    pack: Hash,
    later: readonly Hash[],
    ahead: ErasedAhead,
    before: Promise<VlinderError | null>,
  ): Promise<Begun> {
    // Nothing behind it is begun before that is known.
    const refused = (error: VlinderError): Begun => ({
      values: new Promise(() => {}),
      done: before.then((earlier) => earlier ?? error),
    });
    const known = this.#failed.get(pack);
    if (known !== undefined) return refused(known);
    try {
      const next = later[0] !== undefined && this.#failed.has(later[0]) ? undefined : later[0];
      const fetched = await this.#feed.take(pack, next);
      const values = Promise.withResolvers<void>();
      const others = new Set([...later, ...this.#expected]);
      others.delete(pack);
      const taking = { ahead, later: [...others], onValues: values.resolve };
      return { values: values.promise, done: this.#take(pack, fetched, taking, before) };
    } catch (error) {
      return refused(this.#refused(pack, error));
    }
  }

  async #take(
    pack: Hash,
    fetched: FetchedPack,
    taking: Omit<Taking, "earlier">,
    before: Promise<VlinderError | null>,
  ): Promise<VlinderError | null> {
    const earlier = before.then((error) => {
      if (error !== null) throw new EarlierRefused();
    });
    earlier.catch(() => {}); // it may be refused before that is looked at
    try {
      const taken = await takePack(this.#job, pack, fetched, { ...taking, earlier });
      this.total.commits += taken.commits;
      this.total.objects += taken.objects;
      this.total.bytes += taken.bytes;
      this.#job.progress(this.total.bytes);
      return null;
    } catch (error) {
      const refused = error instanceof EarlierRefused ? null : this.#refused(pack, error);
      return (await before) ?? refused;
    }
  }

  #refused(pack: Hash, error: unknown): VlinderError {
    if (!(error instanceof VlinderError)) throw error;
    this.#failed.set(pack, error);
    return error;
  }
}

/** The pack before this one could not be taken: nothing is known of this one. */
class EarlierRefused extends Error {
  override readonly name = "EarlierRefused";
}
