/** The daemon and the command as they are published, for what measures or tests that. */
import { rmSync } from "node:fs";
import path from "node:path";
import { root, run } from "./command.mjs";

/**
 * Builds them, calls `work` with an environment that names where, and removes them.
 * @param name of the folder that they are built in; nobody else may have it
 * @returns what `work` returns, an exit code; 1 when they can't be built
 */
export async function withBuiltDaemon(node, env, name, work) {
  const built = path.join(root, "daemon", "dist", name);
  try {
    if ((await run(node, [path.join(root, "scripts", "bundle.mjs"), built], env)) !== 0) return 1;
    return await work({ ...env, VLINDER_TEST_DAEMON: built });
  } finally {
    rmSync(built, { recursive: true, force: true });
  }
}
