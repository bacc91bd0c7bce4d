import { setFlagsFromString } from "node:v8";

/**
 * With what Node should run the daemon; it serves without, too. V8 lets the space of young objects grow to 128 MB, and
 * keeps it: tens of megabytes and more, for nothing that was measured with a quarter of it. docs/decisions/0056 has the figures.
 * `bin/vlinderd.mjs` names them in its first line.
 */
export const NODE_FLAGS: readonly string[] = ["--max-semi-space-size=8"];

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

/** V8 before 12 does not know all of them, and says so on stderr. */
const V8_WITH_THEM = 12;

/** For the whole process, and from now on. */
export function compileEarlier(): void {
  if (Number.parseInt(process.versions.v8, 10) < V8_WITH_THEM) return;
  for (const flag of EARLIER) setFlagsFromString(flag);
}
