import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, test } from "vitest";
import { comparable, shownBlocks, withBlocks } from "./harness/shown-blocks.ts";
import { newStage, SYNC_BY_HAND } from "./harness/stage.ts";
import { type Machine, TypedLines } from "./harness/typed-lines.ts";

// The main story, as somebody types it: agents/todo, started by a real daemon, and `vlinder` as a process for each line.
// The tests go on from each other. docs/walkthrough.md shows how the lines ran; UPDATE_WALKTHROUGH=1 writes it anew.

const DOCUMENT = fileURLToPath(new URL("../docs/walkthrough.md", import.meta.url));
const stage = newStage();
const blocks = new Map<string, string>();
const terminal = new TypedLines();
let laptop: Machine;
let desk: Machine;
let bucket = "";
let eggs = "";
let sealed = "";
let promoted = "";

beforeAll(async () => {
  const [one, other] = await Promise.all([stage.daemon(SYNC_BY_HAND), stage.daemon(SYNC_BY_HAND)]);
  laptop = { name: "laptop", home: one.home };
  desk = { name: "desk", home: other.home };
  bucket = await stage.path("bucket");
});

/** What a line shows, that has to go well. */
async function shown(machine: Machine, line: string): Promise<string> {
  const { code, text } = await terminal.type(machine, line);
  expect([code, code === 0 ? "" : text], line).toEqual([0, ""]);
  return text;
}

/** A line that has to be refused. */
async function refused(machine: Machine, line: string, code: string): Promise<void> {
  const typed = await terminal.type(machine, line);
  expect(typed.code, line).toBe(1);
  expect(typed.text).toContain(`[${code}]`);
}

/** Puts what was typed since the last time into the document's block. */
function show(block: string): void {
  let text = terminal.take();
  for (const { name, home } of [laptop, desk]) text = text.replaceAll(home, `/tmp/walk/${name}`);
  blocks.set(block, text.replaceAll(bucket, "/tmp/walk/bucket"));
}

const list = (...items: readonly string[]): string => items.map((item, i) => ` ${i + 1} [ ] ${item}\n`).join("");
const stored = (...items: readonly string[]): unknown => items.map((text) => ({ text, done: false }));

async function valueAt(machine: Machine, ref: string): Promise<unknown> {
  return JSON.parse(await shown(machine, `vlinder kv get todo /todos.json --at ${ref}`));
}

test("milk, eggs, carrots", async () => {
  expect(await shown(laptop, "vlinder agent add agents/todo")).toMatch(/process +running/);
  expect(await shown(laptop, "vlinder run todo -m 'add milk'")).toBe(list("milk"));
  expect(await shown(laptop, "vlinder run todo -m 'add eggs'")).toBe(list("milk", "eggs"));
  expect(await shown(laptop, "vlinder run todo -m 'add carrots'")).toBe(list("milk", "eggs", "carrots"));
  const log = await shown(laptop, "vlinder log todo");
  const turns = [...log.matchAll(/^([0-9a-f]{7}) .* complete /gm)].map(([, state]) => state);
  expect(turns).toHaveLength(3);
  eggs = turns[1] as string;
  show("turns");
});

test("the past is read, and a fork after the eggs goes on with bread", async () => {
  expect(await valueAt(laptop, eggs)).toEqual(stored("milk", "eggs"));
  await shown(laptop, `vlinder fork todo --from ${eggs} --name fix`);
  expect(await shown(laptop, "vlinder run todo -m 'add bread' --branch fix")).toBe(list("milk", "eggs", "bread"));
  expect(await valueAt(laptop, "main")).toEqual(stored("milk", "eggs", "carrots"));
  const diff = await shown(laptop, "vlinder diff todo main fix --values");
  expect(diff).toMatch(/- \/2 {2}\{"text":"carrots".*\n.*\+ \/2 {2}\{"text":"bread"/);
  show("fork");
});

test("promoted, the list shows milk, eggs, bread, and the sealed timeline still shows carrots", async () => {
  const said = await shown(laptop, "vlinder promote todo fix");
  sealed = /broken-\d{4}-\d{2}-\d{2}/.exec(said)?.[0] as string;
  promoted = /state ([0-9a-f]{7})/.exec(said)?.[1] as string;
  expect(await shown(laptop, "vlinder run todo -m list")).toBe(list("milk", "eggs", "bread"));
  expect(await valueAt(laptop, sealed)).toEqual(stored("milk", "eggs", "carrots"));
  const graph = await shown(laptop, "vlinder log todo --graph");
  expect(graph).toMatch(new RegExp(`^● .*${promoted} promote fix`, "m"));
  expect(graph).toContain(`(${sealed} sealed)`);
  const timeline = await shown(laptop, `vlinder log todo --branch ${sealed} -n 3`);
  const put = /^([0-9a-f]{7}) .* kv\.put /m.exec(timeline)?.[1] as string;
  expect(await shown(laptop, `vlinder show todo ${put} --values`)).toContain(`{"text":"carrots","done":false}`);
  show("promote");
});

test("what is sealed takes no write: by hand, and in a turn", async () => {
  await refused(laptop, `vlinder kv put todo /todos.json [] --branch ${sealed}`, "sealed");
  await refused(laptop, `vlinder run todo -m 'add jam' --branch ${sealed}`, "sealed");
  expect(await valueAt(laptop, sealed)).toEqual(stored("milk", "eggs", "carrots"));
  show("sealed");
});

test("another machine sees the same", async () => {
  await shown(laptop, `vlinder init file://${bucket}`);
  await shown(laptop, "vlinder sync push");
  await shown(desk, `vlinder clone file://${bucket}`);
  await shown(desk, "vlinder agent add agents/todo");
  expect(await shown(desk, "vlinder run todo -m list")).toBe(list("milk", "eggs", "bread"));
  expect(await valueAt(desk, sealed)).toEqual(stored("milk", "eggs", "carrots"));
  await refused(desk, `vlinder run todo -m 'add jam' --branch ${sealed}`, "sealed");
  show("machine");
});

test("the promote is undone, and that too, and a pull brings both", async () => {
  await shown(laptop, `vlinder rewind todo --to ${sealed}`);
  expect(await shown(laptop, "vlinder run todo -m list")).toBe(list("milk", "eggs", "carrots"));
  await shown(laptop, "vlinder sync push");
  await shown(desk, "vlinder sync pull");
  expect(await shown(desk, "vlinder run todo -m list")).toBe(list("milk", "eggs", "carrots"));
  await shown(desk, `vlinder rewind todo --to ${promoted}`);
  await shown(desk, "vlinder sync push");
  await shown(laptop, "vlinder sync pull");
  expect(await shown(laptop, "vlinder run todo -m list")).toBe(list("milk", "eggs", "bread"));
  expect(await shown(laptop, "vlinder verify todo")).toMatch(/^all intact: 3 branches/);
  show("undo");
});

test("docs/walkthrough.md shows how it runs", async () => {
  const document = await readFile(DOCUMENT, "utf8");
  if (process.env["UPDATE_WALKTHROUGH"] === "1") await writeFile(DOCUMENT, withBlocks(document, blocks));
  const documented = shownBlocks(await readFile(DOCUMENT, "utf8"));
  expect([...documented.keys()]).toEqual([...blocks.keys()]);
  for (const [name, text] of blocks) expect(comparable(documented.get(name) as string), name).toBe(comparable(text));
});
