import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let collect: ((options: { readonly execution: "async" }) => Promise<void>) | undefined;

/**
 * Frees what nobody uses any more. The collector goes by its own heap, in which the memory that a module of WebAssembly
 * had, or a buffer of 64 MB, is a few bytes: it may leave several of them.
 */
export async function collectGarbage(): Promise<void> {
  if (collect === undefined) {
    // Has the next context know `gc`, and this one not.
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as NonNullable<typeof collect>;
    setFlagsFromString("--no-expose-gc");
  }
  await collect({ execution: "async" });
}
