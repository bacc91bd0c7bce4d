import { execFile, execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { processesGiven, processesWith } from "./harness/processes.ts";

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

  /** What a line shows. */
  function shownBy(line: RegExp): string {
    const [first = ""] = new RegExp(line, "m").exec(output) ?? [];
    expect(first).not.toBe("");
    const rest = output.slice(output.indexOf(first) + first.length);
    return rest.slice(0, rest.search(/^\$ /m));
  }

  test("goes through all of its steps, and both machines end the same", () => {
    for (const step of ["1. Start", "2. Talk", "3. Time", "4. The other", "5. Keep", "6. Another", "7. Both"]) {
      expect(output).toContain(`\n${step}`);
    }
    expect(output).not.toContain("DIFFERENT");
    expect(output.match(/ the same$/gm)).toHaveLength(4);
    expect(output).toMatch(/merged/);
  });

  test("the promoted list has bread, the sealed one carrots, and what both machines added is in the last one", () => {
    expect(shownBy(/^\$ npx vlinder promote todo fix\n/)).toMatch(/kept sealed as broken-\d{4}-\d\d-\d\d\n/);
    const lists = [...output.matchAll(/^\$ npx vlinder run todo -m list\n((?: {3}\d \[ \] .*\n)*)/gm)];
    expect(lists.map(([, list = ""]) => list.match(/\w+$/gm))).toEqual([
      ["milk", "eggs", "bread"],
      ["milk", "eggs", "bread", "jam", "tea"],
    ]);
    const sealed = shownBy(/^\$ npx vlinder kv get todo \/todos.json --at broken-.*\n/m);
    expect(sealed).toMatch(/milk.*eggs.*carrots/);
    expect(shownBy(/^\$ npx vlinder run librarian -m 'what .*\n/m)).toMatch(/^ {2}1\. docs\/.*:\d+\n/);
  });

  test("no process is left", () => {
    expect([...processesWith(base), ...processesGiven(base)]).toEqual([]);
  });

  test("its last lines work as they are printed", { timeout: 120_000 }, () => {
    const lines = output
      .slice(output.indexOf("Go on from here"))
      .split("\n")
      .filter((line) => line.startsWith("  "));
    expect(lines[0]).toContain(`export VLINDER_HOME=${base}`);
    const work = path.join(base, "my-agent");
    const script = lines.map((line) => line.trim().replaceAll(/(?<=agent (new|add) )my-agent/g, work));
    // A line that fails ends the script; what it has started would be waited for without end.
    script.unshift("trap 'test $? = 0 || npx vlinder stop' EXIT");
    const said = execFileSync("bash", ["-e", "-c", [...script, "wait"].join("\n")], { cwd: root, encoding: "utf8" });
    expect(said).toContain("read the README");
    expect(said).toMatch(/^1\. commander\/.*:\d+$/m);
    expect(said).toMatch(/^1\. hello$/m);
    expect([...processesWith(base), ...processesGiven(base)]).toEqual([]);
  });
});
