import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Stage } from "./support.ts";

let stage: Stage;
let folder: string;
beforeAll(async () => {
  stage = await Stage.open();
  folder = await mkdtemp(join(tmpdir(), "vlinder-docs-"));
});
afterAll(async () => {
  await stage[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** Runs an agent as people do, and gives what it prints. */
function run(agent: string, ...words: string[]): Promise<{ code: number | null; out: string }> {
  const main = fileURLToPath(new URL(`../../agents/${agent}/main.ts`, import.meta.url));
  const env = { ...process.env, VLINDER_URL: stage.server.url, VLINDER_CREDS: "" };
  const child = spawn(process.execPath, [main, ...words], { env });
  let out = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (out += text));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, out }));
  });
}

test("todo adds, lists and ticks off, and two writers at once lose nothing", async () => {
  expect(await run("todo", "list")).toEqual({ code: 0, out: "nothing to do\n" });
  await Promise.all([run("todo", "add", "buy milk"), run("todo", "add", "call", "Ann")]);
  const { out } = await run("todo", "done", "1");
  expect(out).toMatch(/^ 1 \[x\] .*\n 2 \[ \] .*\n$/);
  expect(out).toContain("buy milk");
  expect(out).toContain("call Ann");
  expect((await run("todo", "done", "9")).code).toBe(1);
});

test("librarian reads what has changed, forgets what is gone, and answers with the source", async () => {
  const docs = join(folder, "docs");
  await mkdir(join(docs, "copy"), { recursive: true });
  const tea = "# Tea\n\nGreen tea wants water of eighty degrees.\n";
  await writeFile(join(docs, "tea.md"), tea);
  await writeFile(join(docs, "copy", "tea.md"), tea);
  await writeFile(
    join(docs, "bread.md"),
    `# Bread\n\n${"Knead the dough, and let it rest. ".repeat(60)}\n\nBake it for an hour.\n`,
  );
  await writeFile(join(docs, "code.js"), "not a document");
  expect((await run("librarian", "ask", "tea")).code).toBe(1);
  expect((await run("librarian", "read", docs)).out).toMatch(
    /^read 2 of 3 files, 1 duplicates\n\d+ passages, embedded with hashing-384\n$/,
  );
  const answer = await run("librarian", "ask", "how hot must the water for green tea be", "-n", "1");
  expect(answer).toMatchObject({
    code: 0,
    out: expect.stringContaining("1. docs/tea.md:3\n   Tea\n   Green tea wants"),
  });

  const state = stage.responder.state("librarian");
  const before = state.line().length;
  expect((await run("librarian", "read", docs)).out).toContain("read 0 of 3 files, 2 unchanged");
  expect(state.line().length).toBe(before);

  await writeFile(join(docs, "bread.md"), "# Bread\n\nBuy it.\n");
  await rm(join(docs, "copy"), { recursive: true });
  await rm(join(docs, "tea.md"));
  expect((await run("librarian", "read", docs)).out).toContain("read 1 of 1 files, 1 removed\n1 passages");
  expect([...state.head().kv.keys()].toSorted()).toEqual([
    "/docs/docs/bread.md#0",
    "/files/docs/bread.md",
    "/index/state",
    "/index/terms",
  ]);
  expect([...state.head().vectors.keys()]).toEqual(["/docs/docs/bread.md#0"]);
});
