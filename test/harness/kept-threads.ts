import { writerPool } from "../../daemon/src/storage/backends/sqlite/writer-pool.ts";
import type { WriterThread } from "../../daemon/src/storage/backends/sqlite/writer-handle.ts";

let held: WriterThread | null = null;

/**
 * Holds a writer thread as a database would, so that the threads of this process stay from one test to the
 * next, as they do in a daemon: most of a test's storages are opened after the last one was closed, and a
 * thread's start costs more than what many of them do.
 */
export function keepThreads(): void {
  held ??= writerPool.acquire();
}

/** For tests of the threads' own end. */
export async function letThreadsGo(): Promise<void> {
  const thread = held;
  held = null;
  if (thread !== null) await writerPool.release(thread);
}
