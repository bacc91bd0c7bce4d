import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { IoShim, SHIM_SKIP } from "./harness/faults/io-shim.ts";

/** Two threads write all the time, while children are started and end: signal handlers and forks come in the midst of writes. */
const PROGRAM = `
const { spawn } = require("node:child_process");
const { openSync, writeSync } = require("node:fs");
const { isMainThread, Worker } = require("node:worker_threads");
const file = openSync("/dev/null", "w");
if (!isMainThread) for (;;) writeSync(file, "x");
new Worker(__filename);
let left = 300;
const next = () => (left-- > 0 ? spawn("true", { stdio: "ignore" }).on("exit", next) : process.exit(7));
for (let i = 0; i < 4; i++) next();
const write = () => {
  for (let i = 0; i < 200; i++) writeSync(file, "x");
  setImmediate(write);
};
write();
`;

const skipped = SHIM_SKIP === null ? "" : ` (skipped: ${SHIM_SKIP})`;
test.skipIf(SHIM_SKIP !== null)(
  `a process under the shim goes on when children end and are started${skipped}`,
  async () => {
    const shim = new IoShim();
    const folder = await mkdtemp(join(tmpdir(), "vlinder-shim-test-"));
    const file = join(folder, "program.cjs");
    await writeFile(file, PROGRAM);
    const child = spawn(process.execPath, [file], { env: { ...process.env, ...shim.env }, stdio: "ignore" });
    const late = setTimeout(() => child.kill("SIGKILL"), 40_000);
    try {
      expect(await once(child, "exit")).toEqual([7, null]);
    } finally {
      clearTimeout(late);
      shim.dispose();
      await rm(folder, { recursive: true });
    }
  },
  60_000,
);
