import { defineConfig } from "vitest/config";

const EXCLUDED = ["**/node_modules/**", "**/.tools/**", "**/dist/**"];
/** Files of which one process runs many: they leave nothing behind. What such a process has loaded once, it has. */
const SHARING = [
  "protocol/test/**/*.test.ts",
  "daemon/test/{endpoints,providers,registry,state,storage,turns,vectors}/**/*.test.ts",
];

export default defineConfig({
  test: {
    // Native modules (better-sqlite3) and child processes: in processes. Three at once: many wait for a pause or a start more than they compute.
    pool: "forks",
    maxWorkers: 3,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    projects: [
      { extends: true, test: { name: "in one", include: SHARING, exclude: EXCLUDED, isolate: false } },
      {
        extends: true,
        test: {
          name: "apart",
          include: ["{protocol,agent-runtime,daemon,test,agents/*}/**/*.test.ts"],
          exclude: [...EXCLUDED, ...SHARING],
        },
      },
    ],
  },
});
