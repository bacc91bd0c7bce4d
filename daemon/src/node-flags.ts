/**
 * With what Node should run the daemon; it serves without, too. V8 lets the space of young objects grow to 128 MB, and
 * keeps it: tens of megabytes and more, for nothing that was measured with a quarter of it. docs/decisions/0056 has the figures.
 * `bin/vlinderd.mjs` names them in its first line.
 */
export const NODE_FLAGS: readonly string[] = ["--max-semi-space-size=8"];
