import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["{protocol,agent-runtime,daemon,test,agents/*}/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/.tools/**", "**/dist/**"],
    // Native modules (better-sqlite3) and child processes: a process for each file, and no more than two at once.
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
});
