import type { TestDaemon } from "../test-daemon.ts";

/** A way in which storage fails under a daemon that runs, and comes back. */
export interface Fault {
  /** What goes wrong, and how it is injected. */
  readonly name: string;
  /** Why this machine can't inject it; null: it can. */
  readonly skip: string | null;
  /** Before the daemon's first start: where its home has to lie, what its environment has to have. */
  prepare(daemon: TestDaemon): void;
  inject(daemon: TestDaemon): void;
  /** Takes the cause away. */
  heal(daemon: TestDaemon): void;
  /** Whether it happened, where that can be told apart from its effect. */
  readonly fired?: () => number;
  /** After the test. */
  dispose(): void;
}
