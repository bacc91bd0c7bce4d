import { execFile, execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = path.dirname(import.meta.dirname);
const run = promisify(execFile);

/** `npm run quickstart` on a home of its own, as a stranger sees it; then the lines that it prints are typed. */
describe("quickstart", () => {
  let base: string;
  let output: string;

  beforeAll(async () => {
    base = await mkdtemp(path.join(tmpdir(), "vlinder-quickstart-"));
    const { stdout } = await run(process.execPath, ["scripts/quickstart.ts", "--home", base], {
      cwd: root,
      env: { ...process.env, VLINDER_HOME: "" },
      maxBuffer: 1 << 22,
    });
    output = stdout;
  }, 240_000);
  afterAll(() => rm(base, { recursive: true, force: true }));

  test("goes through all of its steps, and both machines end the same", () => {
    for (const step of ["1. Start", "2. An agent", "3. Another", "4. Time", "5. Keep", "6. Another", "7. Both"]) {
      expect(output).toContain(`\n${step}`);
    }
    expect(output).not.toContain("DIFFERENT");
    expect(output.match(/ the same$/gm)).toHaveLength(4);
    expect(output).toMatch(/merged/);
  });

  test("its last lines work as they are printed", { timeout: 120_000 }, () => {
    const lines = output
      .slice(output.indexOf("Go on from here"))
      .split("\n")
      .filter((line) => line.startsWith("  "));
    expect(lines[0]).toContain(`export VLINDER_HOME=${base}`);
    const work = path.join(base, "my-agent");
    const script = lines.map((line) => line.trim().replaceAll("my-agent", work));
    const said = execFileSync("bash", ["-e", "-c", [...script, "wait"].join("\n")], { cwd: root, encoding: "utf8" });
    expect(said).toContain("read the README");
    expect(said).toMatch(/node_modules\/.*:\d+/);
    expect(said).toContain("todo");
  });
});
