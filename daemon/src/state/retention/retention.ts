import { type Hash, MAIN, sha256, VlinderError } from "@vlinder/protocol";
import type { Draft } from "../draft.ts";
import { type CollectReport, Collector, type OnProgress } from "./collector.ts";
import { encodeErased, ERASED, type Erased, type ErasedValue } from "./erased.ts";
import { Eraser, type Forgotten, type KeptValue, type OnErased } from "./eraser.ts";
import type { Ground } from "./ground.ts";
import { policyOf } from "./policy.ts";
import { beginningOf, type Drop, Quarantine } from "./quarantine.ts";
import { Quota } from "./quota.ts";
import { type Forecast, UsageHistory } from "./usage.ts";

export interface RetentionOptions {
  readonly ground: Ground;
  readonly erased: Erased;
  readonly onErased: OnErased;
  readonly write: <T>(work: (draft: Draft) => Promise<T>) => Promise<T>;
  /** Bytes that the storage may have; null: any number. Asked anew for each put. */
  readonly limit: () => number | null;
  /** How long a quarantine is kept, in milliseconds. */
  readonly window: number;
}

export interface ForgetReport {
  /** The `erase` commit; null for a dry run, and when nothing was left to erase. */
  readonly state: Hash | null;
  readonly values: number;
  readonly bytes: number;
  readonly keys: number;
  readonly kept: readonly KeptValue[];
  /** Copies of the whole storage that held them too, and were deleted. */
  readonly copies: readonly string[];
}

export interface SpaceReport {
  readonly limit: number | null;
  readonly used: number;
  readonly forecast: Forecast;
  readonly quarantine: readonly (Drop & { readonly until: string })[];
  /** Commits whose states were dropped. */
  readonly pruned: number;
}

/** Between two collections by themselves, in milliseconds. */
const EVERY = 24 * 3_600_000;
const LAST = "gc";

/** What of the last collections is remembered. */
interface LastCollection {
  readonly time: number;
  /** Undone by a person: none is made by itself until one is asked for. */
  readonly held: boolean;
}

/** An agent's retention, erasure and space: one piece of work at a time. */
export class Retention {
  readonly quota: Quota;
  readonly #options: RetentionOptions;
  readonly #eraser: Eraser;
  readonly #usage: UsageHistory;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;
  /** Works that removal waits for, or will. */
  #held = 0;

  private constructor(options: RetentionOptions, usage: UsageHistory) {
    this.#options = options;
    this.#usage = usage;
    this.quota = new Quota(options.ground.storage, options.limit, () => options.ground.uploads.unstored);
    this.#eraser = new Eraser(options.ground, options.erased, options.onErased);
  }

  /** Erasures that a kill broke off are taken up again, beside the agent's work. */
  static async open(options: RetentionOptions): Promise<Retention> {
    return new Retention(options, await UsageHistory.open(options.ground.storage));
  }

  /** Drops what retention does not keep, and what nothing reaches; without `run` it only says what it would drop. */
  collect(run: boolean, progress: OnProgress = () => {}): Promise<CollectReport> {
    return this.#alone(async () => {
      await this.#expire();
      const report = await new Collector(this.#options.ground, run, this.#unlessClosed(progress)).collect();
      if (run) await this.#collected(false);
      return report;
    });
  }

  /** Whether a collection is due by itself: a day after the last, where retention is declared. */
  async isDue(): Promise<boolean> {
    const { contract, now } = this.#options.ground;
    const policy = policyOf(await contract());
    if (policy.states === null) return false;
    const { time, held } = await this.#lastCollection();
    return !held && now().getTime() - time >= EVERY;
  }

  /** Brings back what the last collection dropped. @throws not_found: there is none, or its time is over */
  undo(): Promise<Drop> {
    return this.#alone(async () => {
      await this.#expire();
      const { shelf, storage, pruned, alone } = this.#options.ground;
      const name = (await shelf.list()).at(-1);
      if (name === undefined) {
        throw new VlinderError("not_found", "there is no collection to undo", {
          remedy: "what a collection dropped is kept for a while only, and what was undone is back already",
        });
      }
      const drop = await Quarantine.use(shelf, name, async (quarantine) => {
        // What needs others comes after them.
        for (const kind of ["chunk", "value", "list", "node", "snapshot"] as const) {
          for await (const objects of quarantine.objects(kind)) {
            await storage.apply({ objects, branches: [], replies: [] });
          }
        }
        const commits = await quarantine.commits();
        await alone(() => pruned.become(pruned.without(commits), storage));
        return quarantine.record();
      });
      await shelf.delete(name);
      await this.#collected(true);
      return drop;
    });
  }

  /** Erases what keys ever held. @throws not_found: they never held anything */
  forget(asked: Forgotten, run: boolean, progress: OnProgress = () => {}): Promise<ForgetReport> {
    return this.#alone(async () => {
      const plan = await this.#eraser.plan(asked, this.#unlessClosed(progress));
      if (!plan.found) {
        throw new VlinderError("not_found", "no key of that name ever held a value", {
          remedy: "`vlinder kv list` and `vlinder log` show keys; a prefix ends with /",
        });
      }
      const keys = new Set(plan.values.map(({ space, key }) => `${space} ${key}`)).size;
      const bytes = plan.erased.reduce((sum, { size }) => sum + size, 0);
      const report = { state: null, values: plan.erased.length, bytes, keys, kept: plan.kept, copies: [] };
      if (!run || plan.values.length === 0) return report;
      const state = await this.#commitErasure(plan.values);
      const { erased, kept, copies } = await this.#eraser.carryOut([state], this.#unlessClosed(progress));
      const gone = plan.erased.filter(({ hash }) => erased.includes(hash));
      this.quota.forget();
      return {
        ...report,
        state,
        values: gone.length,
        bytes: gone.reduce((sum, { size }) => sum + size, 0),
        kept,
        copies,
      };
    });
  }

  /** Carries out erasures that are owed: broken off, or come from other machines. What is kept is said. */
  async settle(): Promise<readonly KeptValue[]> {
    // A sync asks each time, and need not wait for what is under way.
    if (this.#options.erased.pending().length === 0) return [];
    return await this.#alone(async () => {
      const pending = this.#options.erased.pending();
      if (pending.length === 0) return [];
      const { kept } = await this.#eraser.carryOut(
        pending,
        this.#unlessClosed(() => {}),
      );
      return kept;
    });
  }

  /** Of these values those that commits need, whether they are here or not: some commit gave one to a key, and no `erase` commit covers that. */
  needed(hashes: readonly Hash[]): Promise<Hash[]> {
    return this.#eraser.needed(hashes);
  }

  /** Deletes quarantines whose time is over, and takes a sample of the usage; the next time, when it would have to wait for long. */
  async tidy(): Promise<void> {
    if (this.#held > 0) return;
    await this.#alone(async () => {
      await this.#expire();
      const { storage, now } = this.#options.ground;
      await this.#usage.sample(await storage.usage(), now().getTime());
    });
  }

  async space(): Promise<SpaceReport> {
    const { storage, shelf, pruned, now } = this.#options.ground;
    const usage = await storage.usage();
    const { limit } = this.quota;
    const quarantine: SpaceReport["quarantine"][number][] = [];
    for (const name of await shelf.list()) {
      const drop = await Quarantine.use(shelf, name, (one) => one.record());
      quarantine.push({ ...drop, until: new Date(Date.parse(drop.time) + this.#options.window).toISOString() });
    }
    const forecast = this.#usage.forecast(usage, now().getTime(), limit);
    return { limit, used: usage.bytes, forecast, quarantine, pruned: pruned.count };
  }

  /** Does it while nothing is dropped, erased or brought back: that waits for its end. @throws unavailable when the agent is being closed */
  meanwhile<T>(work: () => Promise<T>): Promise<T> {
    this.#held++;
    return this.#alone(work).finally(() => {
      this.#held--;
    });
  }

  /** Waits for what is under way. */
  async idle(): Promise<void> {
    await this.#last;
  }

  /** Waits for what is under way, and begins nothing more. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
  }

  async #commitErasure(values: readonly ErasedValue[]): Promise<Hash> {
    const { erased, write, ground } = this.#options;
    // What open turns have put until now is covered, as what is on a branch.
    const turns = (await ground.uploads.storeTurns?.()) ?? [];
    const list = encodeErased(values);
    const hash = sha256(list);
    const state = await write(async (draft) => {
      const main = draft.writable(MAIN);
      // Where branches were deleted, too: what was put on one is in history still, and would be taken for a later put.
      const ends = draft.table.all().flatMap(({ head, deleted }) => (head === null ? deleted : [head, ...deleted]));
      const heads = [...new Set([...ends, ...turns])].filter((head) => head !== main.head).sort();
      draft.value(hash, list);
      const { commit } = await draft.commit(
        main,
        {},
        {
          event: {
            kind: "erase",
            ...(heads.length === 0 ? {} : { info: { heads } }),
            values: { [ERASED]: [hash, list.length] },
          },
        },
      );
      draft.notes.push(...erased.notes(commit, values));
      return commit;
    });
    erased.settle(state, values);
    return state;
  }

  async #expire(): Promise<void> {
    const { shelf, now } = this.#options.ground;
    for (const name of await shelf.list()) {
      if (now().getTime() - Date.parse(beginningOf(name)) >= this.#options.window) await shelf.delete(name);
    }
  }

  async #collected(held: boolean): Promise<void> {
    const { storage, now } = this.#options.ground;
    this.quota.forget();
    const last: LastCollection = { time: now().getTime(), held };
    const notes = [{ name: LAST, bytes: Buffer.from(JSON.stringify(last), "utf8") }];
    await storage.apply({ objects: [], branches: [], replies: [], notes });
    await this.#usage.sample(await storage.usage(), now().getTime(), true);
  }

  async #lastCollection(): Promise<LastCollection> {
    const note = (await this.#options.ground.storage.notes(LAST)).find(({ name }) => name === LAST);
    return note === undefined
      ? { time: 0, held: false }
      : (JSON.parse(Buffer.from(note.bytes).toString()) as LastCollection);
  }

  /** Long work says how far it is every now and then: there it is broken off when the agent is closed. */
  #unlessClosed(progress: OnProgress): OnProgress {
    return (step) => {
      if (this.#closed) throw closing();
      progress(step);
    };
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(() => {
      if (!this.#closed) return work();
      throw closing();
    });
    // Whoever asked has the failure; the next in line only waits.
    this.#last = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }
}

function closing(): VlinderError {
  return new VlinderError("unavailable", "the agent's state is being closed");
}
