import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { NODE_FLAGS, PROGRAM_ENVIRONMENT } from "../src/node-flags.ts";

const ROOT = resolve(import.meta.dirname, "../..");

test("who starts the daemon from a shell, or from a clone, starts it as the service does", async () => {
  const environment = Object.entries(PROGRAM_ENVIRONMENT).map(([name, value]) => `${name}=${value}`);
  const program = await readFile(join(ROOT, "daemon/bin/vlinderd.mjs"), "utf8");
  expect(program.split("\n")[0]).toBe(`#!/usr/bin/env -S ${[...environment, "node", ...NODE_FLAGS].join(" ")}`);
  const script = await readFile(join(ROOT, "scripts/run.mjs"), "utf8");
  for (const flag of NODE_FLAGS) expect(script).toContain(`"daemon/bin/vlinderd.mjs", "${flag}"`);
  for (const [name, value] of Object.entries(PROGRAM_ENVIRONMENT)) expect(script).toContain(`${name}: "${value}"`);
});
