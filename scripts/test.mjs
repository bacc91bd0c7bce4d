/** `npm test`, with `-- --long` more of it: Vitest, and a last line `N passed, N failed`. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { root, run } from "./command.mjs";

export async function test(node, env, args) {
  const folder = mkdtempSync(path.join(os.tmpdir(), "vlinder-test-"));
  const file = path.join(folder, "counts.json");
  const built = path.join(root, "daemon", "dist", path.basename(folder));
  try {
    const vitest = path.join(root, "node_modules", "vitest", "vitest.mjs");
    const reporters = ["--reporter=default", `--reporter=${path.join(root, "scripts", "count-reporter.mjs")}`];
    // Hundreds of daemons and commands start in a run: as they are published, which halves a start, and what Node makes of the code is made once.
    if ((await run(node, [path.join(root, "scripts", "bundle.mjs"), built], env)) !== 0) return 1;
    const own = {
      VLINDER_TEST_COUNTS: file,
      VLINDER_TEST_DAEMON: built,
      NODE_COMPILE_CACHE: path.join(folder, "compiled"),
    };
    const long = args.includes("--long") ? { VLINDER_LONG: "1" } : {};
    const rest = args.filter((arg) => arg !== "--long");
    const code = await run(node, [vitest, "run", ...reporters, ...rest], { ...env, ...own, ...long });
    const counted = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : { passed: 0, failed: 0 };
    // A run that failed has something that failed, also when no test came to tell.
    const failed = counted.failed === 0 && code !== 0 ? 1 : counted.failed;
    process.stdout.write(`\n${counted.passed} passed, ${failed} failed\n`);
    return code === 0 && failed > 0 ? 1 : code;
  } finally {
    for (const made of [folder, built]) rmSync(made, { recursive: true, force: true });
  }
}
