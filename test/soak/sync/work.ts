import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { AgentName, Hash } from "@vlinder/protocol";
import type { Machine } from "./machine.ts";

/** What somebody who writes has to live with: others write the same, and daemons die. */
const EXPECTED: ReadonlySet<string> = new Set(["conflict", "unavailable", "timeout", "not_found"]);
/** Of keys that all machines write. */
const SHARED = 200;
const PAUSE = 120;
/** Every so many turns one forks, and of those that fork every so many promote. */
const FORKS = 40;
const PROMOTES = 4;

const below = (count: number): number => Math.floor(Math.random() * count);

/** One agent on one machine, which works in turns until it is stopped. */
export class Work {
  turns = 0;
  forks = 0;
  promotes = 0;
  /** Codes of what was refused, and how often. */
  readonly refused = new Map<string, number>();
  readonly failures: unknown[] = [];
  /** Commits of turns that were acknowledged, in order. */
  readonly acknowledged: Hash[] = [];
  readonly #machine: Machine;
  readonly #agent: AgentName;
  readonly #done: Promise<void>;
  #stopped = false;

  constructor(machine: Machine, agent: AgentName) {
    this.#machine = machine;
    this.#agent = agent;
    this.#done = this.#work();
  }

  get agent(): AgentName {
    return this.#agent;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  async #work(): Promise<void> {
    while (!this.#stopped) {
      try {
        await this.#turn("main");
        if (this.turns % FORKS === FORKS - 1) await this.#fork();
      } catch (error) {
        const code = (error as { code?: string }).code ?? "";
        this.refused.set(code, (this.refused.get(code) ?? 0) + 1);
        if (!EXPECTED.has(code)) this.failures.push(error);
        if (this.failures.length > 5) return;
      }
      await sleep(below(2 * PAUSE));
    }
  }

  async #turn(branch: string): Promise<void> {
    const { admin, index } = this.#machine;
    const { turn } = await admin.request(this.#agent, "turn.begin", { branch });
    const own = `/of/${index}/${this.turns % 500}`;
    await admin.request(this.#agent, "kv.put", { turn, key: own, value: Buffer.from(`turn ${this.turns}`) });
    const shared = `/shared/${below(SHARED)}`;
    if (below(10) === 0) await admin.request(this.#agent, "kv.delete", { turn, key: shared });
    // Mostly small; now and then as large as a document.
    else
      await admin.request(this.#agent, "kv.put", {
        turn,
        key: shared,
        value: randomBytes(below(20) === 0 ? 60_000 : 400),
      });
    const { commit } = await admin.request(this.#agent, "turn.complete", { turn });
    this.acknowledged.push(commit);
    this.turns++;
  }

  async #fork(): Promise<void> {
    const { admin, index } = this.#machine;
    const name = `try-${index}-${++this.forks}`;
    await admin.request(this.#agent, "timeline.fork", { name });
    await this.#turn(name);
    await this.#turn(name);
    if (this.forks % PROMOTES === 0) {
      await admin.request(this.#agent, "timeline.promote", { branch: name });
      this.promotes++;
    }
    await admin.request(this.#agent, "timeline.delete_branch", { branch: name });
  }
}
