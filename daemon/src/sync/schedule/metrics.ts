import type { LockClass, SyncMetrics } from "@vlinder/protocol";
import type { Operation } from "./gates.ts";

interface Counted {
  done: number;
  readonly failed: { retry: number; person: number };
  bytes: number;
  last: string | null;
}

const nothing = (): Counted => ({ done: 0, failed: { retry: 0, person: 0 }, bytes: 0, last: null });

/** What sync has done since the daemon started. */
export class Metrics {
  readonly #operations: Readonly<Record<Operation, Counted>> = { push: nothing(), pull: nothing() };
  readonly #probes = { asked: 0, unchanged: 0 };

  done(operation: Operation, bytes: number, now: Date): void {
    const counted = this.#operations[operation];
    counted.done++;
    counted.bytes += bytes;
    counted.last = now.toISOString();
  }

  failed(operation: Operation, kind: LockClass): void {
    this.#operations[operation].failed[kind]++;
  }

  probed(isUnchanged: boolean): void {
    this.#probes.asked++;
    if (isUnchanged) this.#probes.unchanged++;
  }

  read(): SyncMetrics {
    const { push, pull } = this.#operations;
    return structuredClone({ pushes: push, pulls: pull, probes: this.#probes });
  }
}
