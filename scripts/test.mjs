/** `npm test`: Vitest, and a last line `N passed, N failed`. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { root, run } from "./command.mjs";

export function test(node, env, args) {
  const folder = mkdtempSync(path.join(os.tmpdir(), "vlinder-test-"));
  const file = path.join(folder, "result.json");
  try {
    const vitest = path.join(root, "node_modules", "vitest", "vitest.mjs");
    const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
    const code = run(node, [vitest, "run", ...reporters, ...args], env);
    const { passed, failed } = count(existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : null, code);
    process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
    return code === 0 && failed > 0 ? 1 : code;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A file that could not even be loaded, and an error outside of all tests, each count as one failed. */
export function count(result, code) {
  if (result === null) return { passed: 0, failed: 1 };
  const unloaded = result.testResults.filter((one) => one.status === "failed" && one.assertionResults.length === 0);
  const failed = result.numFailedTests + unloaded.length;
  return { passed: result.numPassedTests, failed: failed === 0 && code !== 0 ? 1 : failed };
}
