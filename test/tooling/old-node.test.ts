import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");

/** A Node on the PATH that is too old to run the sources, as a fresh machine may have it. */
function oldNode(): string | undefined {
  return (process.env["PATH"] ?? "")
    .split(path.delimiter)
    .map((folder) => path.join(folder, "node"))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
      } catch {
        return false;
      }
      const version = spawnSync(file, ["--version"], { encoding: "utf8" }).stdout;
      return /^v(18|19|20|21)\./.test(version);
    });
}

const old = oldNode();

test.skipIf(old === undefined)(
  "a command started with an old Node goes on with the one in .tools, or says what to do",
  () => {
    const done = spawnSync(old as string, ["daemon/bin/vlinder.mjs", "--version"], { cwd: root, encoding: "utf8" });
    expect(done.stderr).not.toContain("SyntaxError");
    if (done.status !== 0) expect(done.stderr).toContain("vlinder needs Node");
    else expect(done.stdout).toMatch(/^\d+\.\d+\.\d+/);
  },
);
