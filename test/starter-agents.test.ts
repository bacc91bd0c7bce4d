import { mkdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Client } from "@vlinder/agent-runtime";
import type { AgentName } from "@vlinder/protocol";
import { beforeAll, expect, test } from "vitest";
import { headOf } from "./harness/reading.ts";
import { newStage } from "./harness/stage.ts";

const stage = newStage();
let admin: Client;

beforeAll(async () => {
  admin = await stage.admin(await stage.daemon());
  for (const name of ["todo", "librarian"]) {
    const dir = fileURLToPath(new URL(`../agents/${name}`, import.meta.url));
    await admin.admin("agents.register", { dir });
  }
});

/** What an agent answers, as `vlinder run AGENT -m` does; the daemon started it. */
async function say(agent: string, input: string): Promise<string> {
  const { kind, output, reason } = await admin.request(agent as AgentName, "run", { input }, { timeout: 30_000 });
  return kind === "completed" ? new TextDecoder().decode(output ?? new Uint8Array()) : `${kind}: ${reason}`;
}

test("todo adds, lists and ticks off, and two turns at once lose nothing", async () => {
  expect(await say("todo", "list")).toBe("nothing to do\n");
  await Promise.all([say("todo", "add buy milk"), say("todo", "add call Ann")]);
  const list = await say("todo", "done 1");
  expect(list).toMatch(/^ 1 \[x\] .*\n 2 \[ \] .*\n$/);
  expect(list).toContain("buy milk");
  expect(list).toContain("call Ann");
  const before = await headOf(admin, "todo");
  expect(await say("todo", "done 9")).toBe("there is no todo 9\n");
  const { items } = await admin.request("todo" as AgentName, "timeline.diff", { from: before, to: "main" });
  expect(items).toEqual([]);
});

test("librarian reads what has changed, forgets what is gone, and answers with the source", async () => {
  const docs = await stage.path("docs");
  await mkdir(path.join(docs, "copy"), { recursive: true });
  const tea = "# Tea\n\nGreen tea wants water of eighty degrees.\n";
  await writeFile(path.join(docs, "tea.md"), tea);
  await writeFile(path.join(docs, "copy", "tea.md"), tea);
  const bread = `# Bread\n\n${"Knead the dough, and let it rest. ".repeat(60)}\n\nBake it for an hour.\n`;
  await writeFile(path.join(docs, "bread.md"), bread);
  await writeFile(path.join(docs, "code.js"), "not a document");
  expect(await say("librarian", "tea")).toContain("the librarian has read nothing yet");
  expect(await say("librarian", `read ${docs}`)).toMatch(
    /^read 2 of 3 files, 1 duplicates\n\d+ passages, embedded with hashing-384\n$/,
  );
  const folder = path.basename(docs);
  expect(await say("librarian", "how hot must the water for green tea be")).toContain(
    `1. ${folder}/tea.md:3\n   Tea\n   Green tea wants`,
  );
  expect(await say("librarian", `read ${docs}`)).toContain("read 0 of 3 files, 2 unchanged");

  await writeFile(path.join(docs, "bread.md"), "# Bread\n\nBuy it.\n");
  await rm(path.join(docs, "copy"), { recursive: true });
  await rm(path.join(docs, "tea.md"));
  expect(await say("librarian", `read ${docs}`)).toContain("read 1 of 1 files, 1 removed\n1 passages");
  const keys = async (operation: "kv.list" | "vector.list"): Promise<string[]> =>
    (await admin.request("librarian" as AgentName, operation, {})).items.map(({ key }) => key);
  expect(await keys("kv.list")).toEqual([
    `/docs/${folder}/bread.md#0`,
    `/files/${folder}/bread.md`,
    "/index/state",
    "/index/terms",
  ]);
  expect(await keys("vector.list")).toEqual([`/docs/${folder}/bread.md#0`]);
});
