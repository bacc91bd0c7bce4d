import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import nodeModule from "node:module";
import { dirname, extname, join } from "node:path";
import { Worker } from "node:worker_threads";
import {
  type AgentName,
  asVlinderError,
  type DrillAgent,
  type DrillReply,
  type Progress,
  VlinderError,
} from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import { THREAD_HEAP } from "../node-flags.ts";
import { recordDrill } from "../sync/drill-record.ts";
import { noBucket, notHere } from "../sync/sync-errors.ts";
import { compareAgent } from "./compare.ts";
import type { DrillNews, DrillTask } from "./drill-thread.ts";
import type { ExpectedAgent } from "./expected.ts";
import { checkKeep, requireSpace, seedHome } from "./ground.ts";
import type { Restored, RestoredAgent, RestoreOrder } from "./restore.ts";

export interface DrillRequest {
  /** Absent: all. */
  readonly agent?: AgentName | undefined;
  /** An absolute path where the restored home stays; absent: it is removed. */
  readonly keep?: string | undefined;
  readonly progress: (progress: Progress) => void;
}

/** How often a sign of life goes out while nothing can be said, in milliseconds. */
const ALIVE = 1000;

/**
 * Restores from the bucket into a folder of its own, as a new machine would, and compares: a backup that was never restored is a
 * hope. It runs on a thread, so that agents are served beside it and a daemon that stops need not wait.
 */
export class Drills {
  readonly #core: Core;
  readonly #home: string;
  #thread: Worker | null = null;
  #running = false;

  private constructor(core: Core, home: string) {
    this.#core = core;
    this.#home = home;
  }

  /** What a drill left that was killed goes. */
  static async open(core: Core, home: string): Promise<Drills> {
    await rm(join(home, "drill"), { recursive: true, force: true });
    return new Drills(core, home);
  }

  /** @throws unavailable, denied: the bucket can't be used; not_registered; conflict: one runs already, or `keep` is taken */
  async run({ agent, keep, progress }: DrillRequest): Promise<DrillReply> {
    const { sync } = this.#core;
    const bucket = sync.bucket;
    if (bucket === null) throw noBucket();
    if (this.#running) {
      throw new VlinderError("conflict", "a drill is under way", { remedy: "wait for its end", retryable: false });
    }
    this.#running = true;
    const home = keep ?? join(this.#home, "drill", randomUUID());
    try {
      await checkKeep(keep);
      const expected = await this.#expected(agent);
      await requireSpace({ bucket, agent, folder: keep ?? this.#home, sizes: await this.#sizes(agent) });
      await seedHome(this.#home, home);
      const restored = await this.#restore({ home, bucket, agent, expected }, progress);
      // Nothing was restored, which is no drill that went well.
      if (agent !== undefined && restored.agents.length === 0) throw notHere(agent);
      const agents = await this.#compare(expected, restored.agents);
      const ok = agents.every((one) => one.ok);
      await this.#record(
        bucket,
        agent,
        agents.flatMap((one) => (one.ok ? [] : [one.agent])),
        null,
      );
      const bytes = agents.reduce((sum, one) => sum + one.bytes, 0);
      return { ok, bucket, vault: restored.vault, agents, bytes, seconds: restored.seconds, kept: keep ?? null };
    } catch (thrown) {
      const error = asVlinderError(thrown);
      // What was asked wrongly says nothing of the bucket.
      if (error.code !== "conflict" && error.code !== "not_registered") {
        await this.#record(bucket, agent, [], error.message);
      }
      throw error;
    } finally {
      this.#running = false;
      if (keep === undefined) await rm(join(this.#home, "drill"), { recursive: true, force: true });
    }
  }

  /** Breaks off what runs. */
  async stop(): Promise<void> {
    await this.#thread?.terminate();
  }

  /** Noted before the bucket is looked at: what is pushed meanwhile may be there besides, and nothing less. */
  async #expected(agent: AgentName | undefined): Promise<ExpectedAgent[]> {
    const expected: ExpectedAgent[] = [];
    for (const { name, agent: open } of this.#core.registry.list()) {
      if (open === null || (agent !== undefined && name !== agent)) continue;
      const branches = open.engine.liveBranches().map(({ id, name: branch, head }) => ({ id, name: branch, head }));
      expected.push({ agent: name, branches, tips: await this.#core.sync.pushedTips(name) });
    }
    return expected;
  }

  async #sizes(agent: AgentName | undefined): Promise<number> {
    let bytes = 0;
    for (const { name, agent: open } of this.#core.registry.list()) {
      if (open !== null && (agent === undefined || name === agent)) bytes += (await open.engine.usage()).bytes;
    }
    return bytes;
  }

  async #compare(expected: readonly ExpectedAgent[], restored: readonly RestoredAgent[]): Promise<DrillAgent[]> {
    const agents: DrillAgent[] = [];
    for (const { agent, pulled, verified, branches, notes, error } of restored) {
      const wanted = expected.find((one) => one.agent === agent);
      const local = this.#core.registry.list().find(({ name }) => name === agent)?.agent ?? null;
      // Removed here while the drill was under way: then there is nothing to compare with.
      const compared = wanted && local ? await compareAgent(local.engine, wanted, branches) : [];
      const nothingYet = pulled === null && (wanted === undefined || wanted.tips.length === 0);
      const intact = nothingYet ? compared.length > 0 : verified !== null && verified.damaged === 0;
      const { commits = 0, objects = 0, bytes = 0 } = pulled ?? {};
      const ok = intact && error === null && compared.every((one) => one.ok);
      const here = wanted !== undefined;
      agents.push({ agent, ok, here, commits, objects, bytes, verified, branches: compared, notes, error });
    }
    return agents;
  }

  #record(
    bucket: string,
    agent: AgentName | undefined,
    failed: readonly string[],
    error: string | null,
  ): Promise<void> {
    const ok = failed.length === 0 && error === null;
    return recordDrill(this.#home, {
      time: new Date().toISOString(),
      bucket,
      agent: agent ?? null,
      ok,
      failed,
      error,
    });
  }

  async #restore(order: RestoreOrder, progress: (progress: Progress) => void): Promise<Restored> {
    let last: Progress = { what: "restoring", done: 0, total: null, unit: "bytes" };
    const alive = setInterval(() => progress(last), ALIVE);
    // A `.ts` file in the sources, a `.js` file when built; a test runner's flags are not for it.
    const file = new URL(`./drill-thread${extname(new URL(import.meta.url).pathname)}`, import.meta.url);
    const compiled = nodeModule.getCompileCacheDir();
    const task: DrillTask = { order, cache: compiled === undefined ? null : dirname(compiled) };
    const thread = new Worker(file, { workerData: task, name: "drill", execArgv: [], resourceLimits: THREAD_HEAP });
    this.#thread = thread;
    try {
      return await new Promise<Restored>((resolve, reject) => {
        thread.on("message", (news: DrillNews) => {
          if ("restored" in news) resolve(news.restored);
          else if ("error" in news) reject(VlinderError.fromBody(news.error));
          else progress((last = news.progress));
        });
        thread.on("error", (cause) => reject(brokenOff(cause)));
        thread.on("exit", () => reject(brokenOff(null)));
      });
    } finally {
      clearInterval(alive);
      this.#thread = null;
      await thread.terminate();
    }
  }
}

function brokenOff(cause: unknown): VlinderError {
  const why = cause instanceof Error ? `: ${cause.message}` : "";
  return new VlinderError("unavailable", `the drill was broken off${why}`, {
    remedy: "ask again; if it comes to the same end, see the daemon's log",
    retryable: false,
    cause,
  });
}
