import { setFlagsFromString } from "node:v8";
import type { ResourceLimits } from "node:worker_threads";

/**
 * With what Node should run the daemon; it serves without, too. V8 lets the space of young objects grow to 128 MB, and
 * keeps it: tens of megabytes and more, for nothing that was measured over what it gets here. docs/decisions/0056 has the figures.
 * `bin/vlinderd.mjs` names them in its first line.
 */
export const NODE_FLAGS: readonly string[] = ["--max-semi-space-size=16"];

/**
 * With what the daemon should be started; it serves without, too. glibc gives threads heaps of their own ("arenas"), and memory that one
 * thread takes and another gives back stays in pieces there: tens of megabytes under load. docs/decisions/0121 has the figures; other C libraries do not look at it.
 * `bin/vlinderd.mjs` names it in its first line.
 */
export const PROGRAM_ENVIRONMENT: Readonly<Record<string, string>> = { MALLOC_ARENA_MAX: "1" };

/**
 * After how many calls V8 compiles a function well. A request runs most of its functions once: with V8's own limits (400, 500
 * and 3,000 calls) a daemon is slow for its first thousand requests and more. docs/decisions/0117 has the figures.
 */
const EARLIER: readonly string[] = [
  "--invocation-count-for-maglev=50",
  "--minimum-invocations-after-ic-update=50",
  "--invocation-count-for-turbofan=300",
];

/**
 * V8 collects all of memory when it has grown to two and a half times of what was alive; by itself it lets it grow to up to four times.
 * docs/decisions/0129 has the figures.
 */
const GROWING = "--heap-growing-percent=150";

/** V8 before 12 does not know all of them, and says so on stderr. */
const V8_WITH_THEM = 12;

/** Of a thread that does much: half as much for its young objects as `NODE_FLAGS` gives the main thread. */
export const THREAD_HEAP: ResourceLimits = { maxYoungGenerationSizeMb: 24 };

/** What small Buffers are cut from, in bytes. What is kept of one keeps all of it, and Node's own, 65,536 in Node 24, is eight times as much. */
const POOL = 8192;

/** What can be set from within: for the whole process and from now on, the pools of Buffers aside, which are the calling thread's. */
export function tuneNode(): void {
  Buffer.poolSize = POOL;
  // The main thread has its space. The flag would hold for each other thread as well, whatever its limits say.
  setFlagsFromString("--max-semi-space-size=0");
  setFlagsFromString(GROWING);
  if (Number.parseInt(process.versions.v8, 10) < V8_WITH_THEM) return;
  for (const flag of EARLIER) setFlagsFromString(flag);
}
