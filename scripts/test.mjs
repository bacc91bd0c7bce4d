/** `npm test`, with `-- --long` more of it: Vitest, and a last line `N passed, N failed`. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { withBuiltDaemon } from "./built-daemon.mjs";
import { root, run } from "./command.mjs";

/** Where a Linux keeps files in memory, and bytes of it that must be free to be used. */
const IN_MEMORY = "/dev/shm";
const ROOM = 6 * 2 ** 30;

/**
 * Where tests have their files: in memory where it has room. Thousands of homes are made and thrown away,
 * and what is to survive a test's `kill -9` needs no disk; how long a disk takes is for `npm run bench`.
 */
function placeOfFiles() {
  if (!existsSync(IN_MEMORY)) return os.tmpdir();
  const { bavail, bsize } = statfsSync(IN_MEMORY);
  return bavail * bsize > ROOM ? IN_MEMORY : os.tmpdir();
}

export async function test(node, env, args) {
  const folder = mkdtempSync(path.join(placeOfFiles(), "vlinder-test-"));
  const file = path.join(folder, "counts.json");
  const files = path.join(folder, "files");
  mkdirSync(files);
  try {
    const vitest = path.join(root, "node_modules", "vitest", "vitest.mjs");
    const reporters = ["--reporter=default", `--reporter=${path.join(root, "scripts", "count-reporter.mjs")}`];
    const own = { TMPDIR: files, VLINDER_TEST_COUNTS: file, NODE_COMPILE_CACHE: path.join(folder, "compiled") };
    const long = args.includes("--long") ? { VLINDER_LONG: "1" } : {};
    const rest = args.filter((arg) => arg !== "--long");
    // Hundreds of daemons and commands start in a run: as they are published, which halves a start, and what Node makes of the code is made once.
    const code = await withBuiltDaemon(node, env, path.basename(folder), (built) =>
      run(node, [vitest, "run", ...reporters, ...rest], { ...built, ...own, ...long }),
    );
    const counted = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : { passed: 0, failed: 0 };
    // A run that failed has something that failed, also when no test came to tell.
    const failed = counted.failed === 0 && code !== 0 ? 1 : counted.failed;
    process.stdout.write(`\n${counted.passed} passed, ${failed} failed\n`);
    return code === 0 && failed > 0 ? 1 : code;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
