import { setTimeout as sleep } from "node:timers/promises";
import { type AgentName, asVlinderError, type GetReply, type PipelineResult, VlinderError } from "@vlinder/protocol";
import { backoff } from "./backoff.ts";
import type { Client } from "./client.ts";
import { alone, type Operation, together } from "./operation.ts";
import { readError } from "./reply.ts";
import { type Entry, type Kind, WaitingLine } from "./waiting-line.ts";

type Outcome =
  | { readonly ok: unknown }
  | { readonly error: VlinderError; readonly /** Whether it was tried as often as it should be. */ final: boolean };

/**
 * Operations that are in flight at the same time travel together: what is asked for while messages are
 * on the way waits, and goes as one `kv.pipeline` when one of them is answered. A lone operation goes
 * as itself, at once.
 */
export class Pipeline {
  private readonly client: Client;
  private readonly agent: AgentName;
  private readonly lanes: number;
  private readonly line = new WaitingLine();
  private readonly onTheWay = { reads: 0, writes: 0 };
  private scheduled = false;

  /** `lanes`: messages on the way at the same time; so many with reads, and so many with writes. */
  constructor(client: Client, agent: AgentName, lanes: number) {
    this.client = client;
    this.agent = agent;
    this.lanes = lanes;
  }

  /** `scope`: keys of different ones (branches, commits) have nothing to do with each other. @throws VlinderError */
  add(scope: string, operation: Operation): Promise<unknown> {
    const reply = this.line.add([scope + operation.key], operation.op === "get" ? "reads" : "writes", operation);
    this.schedule();
    return reply;
  }

  /**
   * Sends something by itself, in its turn among what touches the same keys; with `prepared`, not before that
   * is done, which holds up those keys and nothing else.
   */
  alone<T>(
    scope: string,
    keys: readonly string[],
    kind: Kind,
    send: () => Promise<T>,
    prepared?: Promise<unknown>,
  ): Promise<T> {
    const scoped = keys.map((key) => scope + key);
    const reply = this.line.add(scoped, kind, send, prepared) as Promise<T>;
    this.schedule();
    // The line has heard of it by then: it was told first.
    const again = (): void => this.schedule();
    prepared?.then(again, again);
    return reply;
  }

  /** Not at once: what the caller asks for in the same breath goes in the same message. */
  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    queueMicrotask(() => {
      this.scheduled = false;
      this.fill("reads");
      this.fill("writes");
    });
  }

  private fill(kind: Kind): void {
    while (this.onTheWay[kind] < this.lanes) {
      const message = this.line.next(kind);
      if (message.length === 0) return;
      void this.dispatch(kind, message);
    }
  }

  private async dispatch(kind: Kind, message: readonly Entry[]): Promise<void> {
    this.onTheWay[kind]++;
    try {
      await this.run(message, 0);
    } catch (error) {
      for (const entry of message) entry.reject(error);
    } finally {
      this.onTheWay[kind]--;
      this.line.done(message);
      this.schedule();
    }
  }

  /** Sends a message and what of it must be asked again, until every operation is settled. */
  private run(message: readonly Entry[], attempt: number): Promise<void> {
    const [first] = message;
    return message.length === 1 && first !== undefined ? this.runOne(first) : this.runAll(message, attempt);
  }

  private runOne(entry: Entry): Promise<void> {
    const { work } = entry;
    const sent = typeof work === "function" ? work() : this.client.send(this.agent, `kv.${work.op}`, alone(work));
    return sent.then(
      (ok) => this.answer(entry, ok),
      // The client has tried again already where that helps.
      (error: unknown) => entry.reject(asVlinderError(error)),
    );
  }

  private async runAll(message: readonly Entry[], attempt: number): Promise<void> {
    const outcomes = await this.exchange(message);
    if (this.allDone(message, outcomes)) return;
    const { failed, unread } = this.settle(message, outcomes, attempt);
    // As many reads as fitted before fit again, as far as one can know; one by itself always does.
    const fitted = message.filter((entry, i) => entry.kind === "reads" && "ok" in (outcomes[i] as Outcome)).length;
    const step = Math.max(1, fitted);
    for (let i = 0; i < unread.length; i += step) await this.run(unread.slice(i, i + step), attempt);
    if (failed.length === 0) return;
    await sleep(backoff(attempt));
    await this.run(failed, attempt + 1);
  }

  private async exchange(message: readonly Entry[]): Promise<readonly Outcome[]> {
    // What is sent by itself is in no message with others.
    const body = together(message.map(({ work }) => work as Operation));
    const { results } = await this.client.send(this.agent, "kv.pipeline", body);
    if (results?.length !== message.length) {
      throw new VlinderError("internal", `${results?.length} results of ${message.length} operations`, {
        remedy: "update the daemon or @vlinder/agent-runtime: they do not understand each other",
      });
    }
    return results.every(isOk) ? results : results.map(outcomeOf);
  }

  /** Answers all of a message, when nothing of it went wrong. */
  private allDone(message: readonly Entry[], outcomes: readonly Outcome[]): boolean {
    if (!outcomes.every(isOk)) return false;
    for (const [i, { ok }] of outcomes.entries()) this.answer(message[i] as Entry, ok);
    return true;
  }

  /** Answers what is answered; returns what is worth asking again: failed for now, and read but not in the reply. */
  private settle(
    message: readonly Entry[],
    outcomes: readonly Outcome[],
    attempt: number,
  ): { failed: Entry[]; unread: Entry[] } {
    const failed = new Set<Entry>();
    const done = new Set<unknown>();
    // From the end: an operation whose key was worked on after it has lost its place and is not repeated.
    message.toReversed().forEach((entry, i) => {
      const outcome = outcomes.at(-1 - i);
      const again = outcome !== undefined && "error" in outcome && !outcome.final && attempt < this.client.retries;
      if (again && !entry.slots.some((slot) => done.has(slot))) failed.add(entry);
      else for (const slot of entry.slots) done.add(slot);
    });
    const unread: Entry[] = [];
    message.forEach((entry, i) => {
      const outcome = outcomes[i] as Outcome;
      if (failed.has(entry)) return;
      if ("ok" in outcome) this.answer(entry, outcome.ok);
      else if (isUnread(outcome.error) && entry.kind === "reads" && message.length > 1) unread.push(entry);
      else entry.reject(outcome.error);
    });
    return { failed: message.filter((entry) => failed.has(entry)), unread };
  }

  private answer(entry: Entry, ok: unknown): void {
    if (entry.kind === "reads") {
      // Null: what was opened by itself is not there.
      const { value } = (ok ?? {}) as Partial<GetReply>;
      if (value !== undefined) this.line.learn(value.length);
    }
    entry.resolve(ok);
  }
}

/** It did not fit beside the others; one with a hash fits in no reply, and is read in parts. */
function isUnread({ code, details }: VlinderError): boolean {
  return code === "too_large" && details["hash"] === undefined;
}

function isOk(outcome: Outcome | PipelineResult): outcome is { readonly ok: PipelineOk } {
  return "ok" in outcome;
}

type PipelineOk = Extract<PipelineResult, { readonly ok: unknown }>["ok"];

function outcomeOf(result: PipelineResult): Outcome {
  if ("ok" in result) return result;
  const error = readError(result.error);
  return { error, final: !error.retryable };
}
