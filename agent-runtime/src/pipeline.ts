import { setTimeout as sleep } from "node:timers/promises";
import { type AgentName, asVlinderError, type GetReply, LIMITS, VlinderError } from "@vlinder/protocol";
import { backoff } from "./backoff.ts";
import type { Client } from "./client.ts";
import { readError } from "./reply.ts";

/** One operation as it travels; field names are the protocol's. */
export interface Operation {
  readonly op: "put" | "get" | "delete";
  readonly key: string;
  readonly value?: Uint8Array;
  readonly [field: string]: unknown;
}

/** What an operation works on: keys of different scopes (branches, commits) have nothing to do with each other. */
interface Entry {
  /** `scope NUL key`, of all keys that it touches. */
  readonly keys: readonly string[];
  readonly write: boolean;
  readonly bytes: number;
  /** What goes into a pipeline; or what is sent by itself. */
  readonly operation: Operation | (() => Promise<unknown>);
  /** Not before it can be sent; what touches its keys waits for it all the same. */
  ready: boolean;
  resolve(reply: unknown): void;
  reject(error: unknown): void;
}

type Outcome =
  | { readonly ok: unknown }
  | { readonly error: VlinderError; readonly /** Whether it was tried as often as it should be. */ final: boolean };

/** Room for operations in one message: under NATS's 1 MiB, which counts headers. */
const MESSAGE_BYTES = 900 * 1024;
/** What a key, an id and field names add to an operation, at most. */
const OVERHEAD = 160;

/**
 * Operations that are in flight at the same time travel together: what is asked for while messages are
 * on the way waits, and goes as one `kv.pipeline` when one of them is answered. A lone operation goes
 * as itself, at once.
 *
 * The order on one key is the order of the calls. Within a message the daemon keeps it; between
 * messages it is kept by never having one key in two at once, and what waits for its key holds back
 * what was asked for that key later. A write never follows a read of its key in one message, since a
 * read whose value did not fit in the reply is asked for again.
 */
export class Pipeline {
  private readonly client: Client;
  private readonly agent: AgentName;
  private readonly lanes: number;
  private readonly waiting = new Set<Entry>();
  private readonly busy = new Set<string>();
  private onTheWay = 0;
  private scheduled = false;
  /** Bytes of a value read lately: how many reads are likely to fit in one reply. */
  private readBytes = 1024;

  /** `lanes`: messages on the way at the same time. */
  constructor(client: Client, agent: AgentName, lanes: number) {
    this.client = client;
    this.agent = agent;
    this.lanes = lanes;
  }

  /** @throws VlinderError */
  add(scope: string, operation: Operation): Promise<unknown> {
    const bytes = OVERHEAD + 3 * operation.key.length + (operation.value?.length ?? 0);
    return this.enqueue([`${scope}\0${operation.key}`], operation.op !== "get", bytes, operation);
  }

  /**
   * Sends something by itself, in its turn among what touches the same keys; with `prepared`, not before that
   * is done, which holds up those keys and nothing else.
   */
  alone<T>(
    scope: string,
    keys: readonly string[],
    write: boolean,
    send: () => Promise<T>,
    prepared?: Promise<unknown>,
  ): Promise<T> {
    const scoped = keys.map((key) => `${scope}\0${key}`);
    return this.enqueue(scoped, write, 0, send, prepared) as Promise<T>;
  }

  private enqueue(
    keys: readonly string[],
    write: boolean,
    bytes: number,
    operation: Entry["operation"],
    prepared?: Promise<unknown>,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const entry: Entry = { keys, write, bytes, operation, ready: prepared === undefined, resolve, reject };
      this.waiting.add(entry);
      this.schedule();
      prepared?.then(
        () => {
          entry.ready = true;
          this.schedule();
        },
        (error: unknown) => {
          this.waiting.delete(entry);
          reject(error);
          this.schedule();
        },
      );
    });
  }

  /** Not at once: what the caller asks for in the same breath goes in the same message. */
  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    queueMicrotask(() => {
      this.scheduled = false;
      while (this.onTheWay < this.lanes) {
        const message = this.nextMessage();
        if (message.length === 0) return;
        void this.dispatch(message);
      }
    });
  }

  private nextMessage(): Entry[] {
    const message: Entry[] = [];
    const blocked = new Set<string>();
    const read = new Set<string>();
    let room = MESSAGE_BYTES;
    let replyRoom = MESSAGE_BYTES;
    for (const entry of this.waiting) {
      const free =
        entry.ready &&
        entry.keys.every((key) => !this.busy.has(key) && !blocked.has(key) && !(entry.write && read.has(key)));
      const fits = message.length === 0 || (typeof entry.operation !== "function" && entry.bytes <= room);
      if (!free || !fits || (!entry.write && message.length > 0 && replyRoom < this.readBytes)) {
        for (const key of entry.keys) blocked.add(key);
        continue;
      }
      this.waiting.delete(entry);
      message.push(entry);
      if (typeof entry.operation === "function") break;
      room -= entry.bytes;
      replyRoom -= OVERHEAD;
      if (!entry.write) {
        replyRoom -= this.readBytes;
        for (const key of entry.keys) read.add(key);
      }
      if (message.length === LIMITS.operations || room <= OVERHEAD) break;
    }
    return message;
  }

  private async dispatch(message: readonly Entry[]): Promise<void> {
    const keys = message.flatMap((entry) => entry.keys);
    for (const key of keys) this.busy.add(key);
    this.onTheWay++;
    try {
      await this.run(message);
    } catch (error) {
      for (const entry of message) entry.reject(error);
    } finally {
      this.onTheWay--;
      for (const key of keys) this.busy.delete(key);
      this.schedule();
    }
  }

  /** Sends a message and what of it must be asked again, until every operation is settled. */
  private async run(message: readonly Entry[], attempt = 0): Promise<void> {
    const outcomes = await this.exchange(message);
    const { failed, unread } = this.settle(message, outcomes, attempt);
    // As many reads as fitted before fit again, as far as one can know; one by itself always does.
    const fitted = message.filter((entry, i) => !entry.write && "ok" in (outcomes[i] as Outcome)).length;
    const step = Math.max(1, fitted);
    for (let i = 0; i < unread.length; i += step) await this.run(unread.slice(i, i + step), attempt);
    if (failed.length === 0) return;
    await sleep(backoff(attempt));
    await this.run(failed, attempt + 1);
  }

  private async exchange(message: readonly Entry[]): Promise<Outcome[]> {
    const [first] = message as [Entry];
    if (message.length === 1) {
      try {
        return [{ ok: await this.sendOne(first.operation) }];
      } catch (error) {
        // The client has tried again already where that helps.
        return [{ error: asVlinderError(error), final: true }];
      }
    }
    const body = { ops: message.map((entry) => entry.operation) };
    const { results } = await this.client.request(this.agent, "kv.pipeline", body);
    if (results?.length !== message.length) {
      throw new VlinderError("internal", `${results?.length} results of ${message.length} operations`, {
        remedy: "update the daemon or @vlinder/agent-runtime: they do not understand each other",
      });
    }
    return results.map((result) => {
      if ("ok" in result) return result;
      const error = readError(result.error);
      return { error, final: !error.retryable };
    });
  }

  private async sendOne(operation: Entry["operation"]): Promise<unknown> {
    if (typeof operation === "function") return operation();
    const { op, ...body } = operation;
    return this.client.request(this.agent, `kv.${op}`, body);
  }

  /** Answers what is answered; returns what is worth asking again: failed for now, and read but not in the reply. */
  private settle(
    message: readonly Entry[],
    outcomes: readonly Outcome[],
    attempt: number,
  ): { failed: Entry[]; unread: Entry[] } {
    const failed = new Set<Entry>();
    const done = new Set<string>();
    // From the end: an operation whose key was worked on after it has lost its place and is not repeated.
    message.toReversed().forEach((entry, i) => {
      const outcome = outcomes.at(-1 - i);
      const again = outcome !== undefined && "error" in outcome && !outcome.final && attempt < this.client.retries;
      if (again && !entry.keys.some((key) => done.has(key))) failed.add(entry);
      else for (const key of entry.keys) done.add(key);
    });
    const unread: Entry[] = [];
    message.forEach((entry, i) => {
      const outcome = outcomes[i] as Outcome;
      if (failed.has(entry)) return;
      if ("ok" in outcome) {
        if (!entry.write) this.learn(outcome.ok);
        entry.resolve(outcome.ok);
      } else if (isUnread(outcome.error) && !entry.write && message.length > 1) unread.push(entry);
      else entry.reject(outcome.error);
    });
    return { failed: message.filter((entry) => failed.has(entry)), unread };
  }

  private learn(reply: unknown): void {
    const { value } = (reply ?? {}) as Partial<GetReply>;
    if (value !== undefined) this.readBytes = Math.ceil(0.9 * this.readBytes + 0.1 * value.length);
  }
}

/** It did not fit beside the others; one with a hash fits in no reply, and is read in parts. */
function isUnread({ code, details }: VlinderError): boolean {
  return code === "too_large" && details["hash"] === undefined;
}
