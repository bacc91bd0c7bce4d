import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["{protocol,agent-runtime,daemon,test,agents/*}/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/.tools/**", "**/dist/**", "**/.backends-doc-*/**"],
    // Native modules (better-sqlite3) and child processes: in processes. Three at once: many wait for a pause or a start more than they compute.
    pool: "forks",
    maxWorkers: 3,
    // One process runs many files, which leave nothing behind: what it has loaded once, it has.
    isolate: false,
    // The sources as Node itself loads them, as in the daemon; Vite's own loader took 16 s for all files, this 8 to 12.
    experimental: { viteModuleRunner: false },
    restoreMocks: true,
    setupFiles: ["./test/harness/setup.ts"],
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
});
