import { join } from "node:path";
import {
  type AgentName,
  asVlinderError,
  type CopiesReply,
  type FetchedCopiesReply,
  type FetchedCopy,
  type Progress,
  VlinderError,
} from "@vlinder/protocol";
import type { Bucket } from "../buckets/bucket.ts";
import type { Retries } from "../retry.ts";
import type { SyncState } from "../sync-state.ts";
import { fetchCopy, findCopies } from "./copy-fetch.ts";
import { type Copy, copyDatabases } from "./copy-job.ts";
import type { Device } from "../vault/device.ts";
import type { OpenedVault, VaultDoor } from "../vault/vault-door.ts";
import { type CopyFacts, type DatabaseSource, databasesMode, dueAt } from "./settings.ts";

type CopyItem = CopiesReply["agents"][number];

/** An open bucket whose vault has been checked. */
export interface CopyPlace extends OpenedVault {
  readonly bucket: Bucket;
}

export interface CopiedAgent {
  readonly state: SyncState;
  /** Changes with the agent's branches. */
  readonly heads: string;
}

/** What copies need of sync. */
export interface CopyGround {
  readonly home: string;
  readonly device: () => Device;
  readonly now: () => Date;
  readonly retries: Retries;
  readonly log: {
    info(details: object, message: string): void;
    warn(details: object, message: string): void;
  };
  /** The bucket's URI; null: none is set. */
  readonly bucket: () => string | null;
  readonly open: (operation: "push" | "pull") => Promise<CopyPlace>;
  readonly agents: () => Promise<readonly AgentName[]>;
  readonly source: (agent: AgentName) => DatabaseSource;
  /** Null: it is not here any more. */
  readonly agent: (name: AgentName) => Promise<CopiedAgent | null>;
}

interface Run {
  readonly agent: AgentName;
  readonly signal: AbortSignal;
  readonly progress: (progress: Progress) => void;
  /** `default`: nobody has asked for it, the kind of bucket suits it; `once`: somebody waits for it. */
  readonly why: "default" | "set" | "once";
}

const NONE: CopyFacts = { copied: null, failed: null, erased: 0 };
const silent = (): void => undefined;

/** What is remembered of an agent's copies. */
export function copyFacts(state: SyncState): CopyFacts {
  return state.fact<CopyFacts>("databases") ?? NONE;
}

/** What a person should know of an agent's copies. */
export function copyNotes(state: SyncState): string[] {
  const { copied, erased, failed } = copyFacts(state);
  const notes = [];
  if (failed !== null) {
    const remedy = failed.remedy === null ? "" : ` (${failed.remedy})`;
    notes.push(`the databases could not be copied to the bucket at ${failed.time}: ${failed.message}${remedy}`);
  }
  if (copied !== null && erased > 0) {
    notes.push(
      `the copy of the databases in the bucket, of ${copied.time}, holds values that were erased: \`vlinder sync databases\` replaces it`,
    );
  }
  return notes;
}

/**
 * Copies of agents' databases in the bucket, for people: when, and one at a time. They run behind everything: nobody
 * waits for them, and what goes wrong with one is a note, and no reason for a push to fail.
 */
export class DatabaseCopies {
  readonly #ground: CopyGround;
  readonly #timers = new Map<AgentName, NodeJS.Timeout>();
  readonly #running = new Map<AgentName, { readonly controller: AbortController; readonly done: Promise<unknown> }>();
  #last: Promise<unknown> = Promise.resolve();
  readonly #closing = new AbortController();

  constructor(ground: CopyGround) {
    this.#ground = ground;
  }

  /** Makes a copy of each that is due, now or when it is: after a push, and at a start. Returns at once. */
  consider(agents: readonly AgentName[]): void {
    for (const agent of this.#closing.signal.aborted ? [] : agents) {
      void this.#consider(agent).catch((error: unknown) => {
        this.#ground.log.warn({ agent, err: error }, "whether its databases are to be copied could not be found out");
      });
    }
  }

  /** Copies now, also when nothing has changed. @param agent default: all */
  async copy(agent: AgentName | undefined, progress: (progress: Progress) => void = silent): Promise<CopiesReply> {
    const agents = agent === undefined ? await this.#ground.agents() : [agent];
    const items: CopyItem[] = [];
    for (const one of agents) items.push(await this.#inTurn(one, progress, "once"));
    return { agents: items };
  }

  /**
   * Brings copies from the bucket, of any machine, into folders of the agents' names.
   * @param folder absolute
   * @param agent default: all that have one
   */
  async fetch(
    folder: string,
    agent: AgentName | undefined,
    progress: (progress: Progress) => void = silent,
  ): Promise<FetchedCopiesReply> {
    const { open, retries } = this.#ground;
    const place = await open("pull");
    const { signal } = this.#closing;
    const onAbort = (): void => void place.bucket.close();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      const found = await findCopies({ bucket: place.bucket, retries }, agent);
      const agents: FetchedCopy[] = [];
      for (const name of agent === undefined ? [...found.keys()].toSorted() : [agent]) {
        const ground = { ...place, vault: place.vault.id, retries, signal, progress };
        agents.push(await fetchCopy(ground, name, found.get(name) ?? [], folder));
      }
      return { agents };
    } finally {
      signal.removeEventListener("abort", onAbort);
      await place.bucket.close();
    }
  }

  /** The copy in the bucket has values that are erased here. */
  erased(state: SyncState): void {
    const facts = copyFacts(state);
    state.setFact("databases", { ...facts, erased: facts.erased + 1 });
  }

  /** Breaks off what is under way for an agent, and waits until it has ended. */
  async stop(agent: AgentName): Promise<void> {
    clearTimeout(this.#timers.get(agent));
    this.#timers.delete(agent);
    const running = this.#running.get(agent);
    running?.controller.abort();
    await running?.done;
  }

  close(): void {
    this.#closing.abort(new VlinderError("unavailable", "the daemon stops", { remedy: "ask again when it runs" }));
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  async #consider(agent: AgentName): Promise<void> {
    const { bucket, now, source } = this.#ground;
    const uri = bucket();
    const { files, mode } = source(agent);
    if (this.#closing.signal.aborted || uri === null || files.length === 0) return;
    const when = databasesMode(mode, uri, false);
    const known = when === "off" || this.#running.has(agent) ? null : await this.#ground.agent(agent);
    if (when === "off" || known === null) return;
    const facts = copyFacts(known.state);
    if (facts.copied?.heads === known.heads && facts.erased === 0) return;
    const wait = dueAt(when, facts) - now().getTime();
    if (wait <= 0) await this.#inTurn(agent, silent, mode === null ? "default" : "set");
    else if (!this.#timers.has(agent)) this.#later(agent, wait);
  }

  /** So that the last writes of a day get into a copy, too, when no push comes after them. */
  #later(agent: AgentName, wait: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(agent);
      this.consider([agent]);
    }, wait);
    this.#timers.set(agent, timer.unref());
  }

  /** Never rejects. */
  #inTurn(agent: AgentName, progress: (progress: Progress) => void, why: Run["why"]): Promise<CopyItem> {
    const controller = new AbortController();
    const done = this.#last.then(() => this.#copy({ agent, signal: controller.signal, progress, why }));
    const running = { controller, done };
    this.#last = done;
    this.#running.set(agent, running);
    return done.finally(() => {
      if (this.#running.get(agent) === running) this.#running.delete(agent);
    });
  }

  async #copy(run: Run): Promise<CopyItem> {
    const { agent, signal } = run;
    const nothing = { agent, time: null, files: [], why: null, error: null };
    try {
      if (this.#ground.source(agent).files.length === 0)
        return { ...nothing, why: "its storage is in no SQLite file of this machine" };
      const known = await this.#ground.agent(agent);
      if (known === null || signal.aborted) return { ...nothing, why: "it is not here any more" };
      const copy = await this.#kept(run, known);
      if (copy === null) return { ...nothing, why: "the vault is encrypted: it gets a copy only when asked for one" };
      return { ...nothing, time: copy.time, files: copy.files };
    } catch (thrown) {
      return { ...nothing, error: asVlinderError(thrown).toBody() };
    }
  }

  /** Makes the copy and remembers what came of it. */
  async #kept(run: Run, { state, heads }: CopiedAgent): Promise<Copy | null> {
    const { log, now } = this.#ground;
    const { agent, signal } = run;
    const facts = copyFacts(state);
    try {
      const copy = await this.#made(run, facts.copied?.files ?? []);
      if (copy === null) return null;
      const { time, files, left } = copy;
      const copied = { time, heads, files: files.map(({ path }) => path) };
      state.setFact("databases", { copied, failed: null, erased: copyFacts(state).erased - facts.erased });
      log.info({ agent, files }, "its databases were copied to the bucket");
      if (left !== null) log.warn({ agent }, `the copy before it is still in the bucket: ${left}`);
      return copy;
    } catch (thrown) {
      const error = asVlinderError(thrown);
      // Who asks for one hears it; a note stands for what was to come by itself, and will be tried again.
      if (!signal.aborted && run.why !== "once") {
        const failed = { time: now().toISOString(), message: error.message, remedy: error.remedy ?? null };
        state.setFact("databases", { ...copyFacts(state), failed });
        log.warn({ agent, error: error.toBody() }, `its databases could not be copied to the bucket: ${error.message}`);
      }
      throw error;
    }
  }

  async #made({ agent, why, ...run }: Run, before: readonly string[]): Promise<Copy | null> {
    const { device, home, now, open, retries, source } = this.#ground;
    const { bucket, sealer, vault } = await open("push");
    // What hangs in a request does not look at the signal.
    const onAbort = (): void => void bucket.close();
    run.signal.addEventListener("abort", onAbort, { once: true });
    try {
      if (sealer !== null && why === "default") return null;
      return await copyDatabases({
        ...run,
        agent,
        databases: source(agent).files,
        bucket,
        vault: vault.id,
        device: device(),
        folder: join(home, "agents", agent, "copies"),
        before,
        sealer,
        now,
        retries,
      });
    } finally {
      run.signal.removeEventListener("abort", onAbort);
      await bucket.close();
    }
  }
}

/** A bucket that is open, with its vault checked; where that fails, it is closed. */
export async function openPlace(
  opening: Promise<Bucket>,
  door: VaultDoor,
  operation: "push" | "pull",
): Promise<CopyPlace> {
  const bucket = await opening;
  try {
    return { bucket, ...(await door.open(bucket, operation)) };
  } catch (error) {
    await bucket.close();
    throw error;
  }
}
