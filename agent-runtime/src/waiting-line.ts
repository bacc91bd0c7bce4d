import { LIMITS } from "@vlinder/protocol";
import type { Operation } from "./operation.ts";

/** A key, while something of it waits or is on the way. */
interface Slot {
  readonly name: string;
  /** In the order of the calls. */
  readonly waiting: Entry[];
  /** It is in a message that is not answered yet. */
  busy: boolean;
}

export type Kind = "reads" | "writes";

export interface Entry {
  readonly slots: readonly Slot[];
  readonly kind: Kind;
  readonly bytes: number;
  /** What goes into a pipeline; or what is sent by itself. */
  readonly work: Operation | (() => Promise<unknown>);
  /** Not before it can be sent; what touches its keys waits for it all the same. */
  ready: boolean;
  resolve(reply: unknown): void;
  reject(error: unknown): void;
}

/** Room for operations in one message, and for values in its reply: under NATS's 1 MiB, which counts headers. */
const MESSAGE_BYTES = 900 * 1024;
/** What its place in a list, and a reply without a value, take at most. */
const OVERHEAD = 200;

/**
 * What waits to be sent, and which of it may travel next. The order on one key is the order of the calls:
 * within a message the daemon keeps it; between messages it is kept by never having one key in two at
 * once, and by letting nothing overtake what waits for the same key. A message holds reads or writes: a
 * read should not wait until the writes beside it are durable.
 */
export class WaitingLine {
  private slots = new Map<string, Slot>();
  private readonly entries = { reads: new Set<Entry>(), writes: new Set<Entry>() };
  /** Bytes of a value read lately: how many reads are likely to fit in one reply. */
  private readBytes = 1024;

  /**
   * `keys`: all that it touches, each with the line of states that is meant. It does not travel before it is
   * `prepared`, and not at all when that fails: its keys are held up by it, and nothing else.
   */
  add(keys: readonly string[], kind: Kind, work: Entry["work"], prepared?: Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const slots = keys.map((key) => this.slot(key));
      const bytes = typeof work === "function" ? 0 : work.body.length + OVERHEAD;
      const entry: Entry = { slots, kind, bytes, work, ready: prepared === undefined, resolve, reject };
      for (const { waiting } of slots) waiting.push(entry);
      this.entries[kind].add(entry);
      prepared?.then(
        () => (entry.ready = true),
        (error: unknown) => {
          this.leave(entry);
          reject(error);
        },
      );
    });
  }

  /** Takes what may travel in one message; nothing, when all that waits has to go on waiting. */
  next(kind: Kind): Entry[] {
    const message: Entry[] = [];
    let room = MESSAGE_BYTES;
    let replyRoom = MESSAGE_BYTES;
    for (const entry of this.entries[kind]) {
      if (!entry.ready || !entry.slots.every(({ busy, waiting }) => !busy && waiting[0] === entry)) continue;
      const alone = typeof entry.work === "function";
      if (message.length > 0) {
        if (alone) continue;
        if (entry.bytes > room || replyRoom < 0) break;
      }
      this.entries[kind].delete(entry);
      for (const { waiting } of entry.slots) waiting.shift();
      message.push(entry);
      if (alone || message.length === LIMITS.operations) break;
      room -= entry.bytes;
      replyRoom -= kind === "reads" ? this.readBytes + OVERHEAD : OVERHEAD;
    }
    // Dead tables of an old one would keep what is over until all of memory is collected.
    if (this.entries[kind].size === 0) this.entries[kind] = new Set();
    for (const { slots } of message) for (const slot of slots) slot.busy = true;
    return message;
  }

  /** The message that these travelled in is answered: their keys are free. */
  done(message: readonly Entry[]): void {
    for (const { slots } of message) {
      for (const slot of slots) {
        slot.busy = false;
        this.sweep(slot);
      }
    }
    if (this.slots.size === 0) this.slots = new Map();
  }

  /** It goes without having travelled. */
  private leave(entry: Entry): void {
    this.entries[entry.kind].delete(entry);
    for (const slot of entry.slots) {
      slot.waiting.splice(slot.waiting.indexOf(entry), 1);
      this.sweep(slot);
    }
  }

  private sweep({ name, waiting, busy }: Slot): void {
    if (waiting.length === 0 && !busy) this.slots.delete(name);
  }

  /** Notes how large a value was that was read. */
  learn(bytes: number): void {
    this.readBytes = Math.ceil(0.9 * this.readBytes + 0.1 * bytes);
  }

  private slot(name: string): Slot {
    let slot = this.slots.get(name);
    if (slot === undefined) {
      slot = { name, waiting: [], busy: false };
      this.slots.set(name, slot);
    }
    return slot;
  }
}
