import { existsSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";

/**
 * Keeps compiled code in the home, where nobody else can write: most of a short command is spent on
 * reading TypeScript. A home that is not there yet is not made for it.
 */
export function useCompileCache(env: NodeJS.ProcessEnv): void {
  const home = env["VLINDER_HOME"];
  const run = join(home === undefined || home === "" ? join(homedir(), ".vlinder") : home, "run");
  if (existsSync(run)) enableCompileCache(join(run, "compile-cache"));
}
