import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { documentOf, type RunningDaemon, startDaemon, temporary, vlinder } from "./harness.ts";

let folder: Awaited<ReturnType<typeof temporary>>;
let daemon: RunningDaemon;
/** Main's state with the eggs. */
let eggs: string;

async function json(...argv: string[]): Promise<Record<string, unknown>> {
  const ran = await vlinder([...argv, "--json"]);
  const document = documentOf(ran);
  if (ran.code !== 0) throw new Error(`${argv.join(" ")}: ${ran.out}`);
  return document;
}

async function put(key: string, value: string, ...more: string[]): Promise<string> {
  return String((await json("kv", "put", "todo", key, value, ...more))["state"]);
}

async function keys(...more: string[]): Promise<string[]> {
  const { items } = (await json("kv", "list", "todo", ...more)) as { items: { key: string }[] };
  return items.map(({ key }) => key);
}

/** What people see, without what is another each time. */
async function shown(...argv: string[]): Promise<string> {
  const { code, out, err } = await vlinder(argv);
  expect([code, err]).toEqual([0, ""]);
  return out
    .replaceAll(/\b[0-9a-f]{7,64}\b/g, "<hash>")
    .replaceAll(/broken-\d{4}-\d\d-\d\d/g, "broken-<date>")
    .replaceAll(/\b(now|\d+ (s|min) ago)\b/g, "<ago>");
}

beforeAll(async () => {
  folder = await temporary();
  process.env["VLINDER_HOME"] = join(folder.path, "home");
  daemon = await startDaemon(process.env["VLINDER_HOME"]);
  const dir = join(folder.path, "todo");
  await json("agent", "new", dir);
  await writeFile(
    join(dir, "agent.toml"),
    'name = "todo"\nobject_storage = "sqlite://objects.db"\nvector_storage = "sqlite://vectors.db"\n',
  );
  await json("agent", "add", dir);
  await put("/milk", "milk");
  eggs = await put("/eggs", "eggs");
  await put("/carrots", "carrots");
}, 30_000);

afterAll(async () => {
  await daemon.stop();
  await folder.remove();
});

test("a fork is promoted, and the old main is kept and refuses writes", async () => {
  await json("fork", "todo", "--from", eggs, "--name", "fix");
  await put("/bread", "bread", "--branch", "fix");
  expect(await shown("diff", "todo", "main", "fix")).toBe(
    ["+  /bread    5 B", "-  /carrots  7 B", "1 added, 1 removed", ""].join("\n"),
  );
  const people = await shown("promote", "todo", "fix");
  expect(people).toBe(
    [
      "promoted fix: main holds what it does; state <hash>",
      "what main held is kept sealed as broken-<date>",
      "undo: vlinder rewind todo --to broken-<date>",
      "fix stays a branch; when it is no longer needed: vlinder branch delete todo fix",
      "",
    ].join("\n"),
  );
  expect(await keys()).toEqual(["/bread", "/eggs", "/milk"]);
  const { items } = (await json("branch", "list", "todo")) as {
    items: { name: string; sealed: boolean }[];
  };
  const sealed = items.find((branch) => branch.sealed)?.name as string;
  expect(sealed).toMatch(/^broken-\d{4}-\d\d-\d\d$/);
  expect(await keys("--branch", sealed)).toEqual(["/carrots", "/eggs", "/milk"]);
  const refused = await vlinder(["kv", "put", "todo", "/x", "1", "--branch", sealed, "--json"]);
  expect([refused.code, documentOf(refused)]).toMatchObject([1, { error: { code: "sealed" } }]);
  const again = await vlinder(["promote", "todo", "fix", "--json"]);
  expect([again.code, documentOf(again)]).toMatchObject([1, { error: { code: "invalid" } }]);

  expect(await shown("log", "todo", "--graph", "-n", "4")).toBe(
    [
      "● <hash> (main) promote fix: was broken-<date>  <ago>",
      "├─╮",
      "● │ <hash> (fix) kv.put  <ago>",
      "│ ● <hash> (broken-<date> sealed) kv.put  <ago>",
      "├─╯",
      "●   <hash> kv.put  <ago>",
      "more: vlinder log todo --graph --after <hash>",
      "",
    ].join("\n"),
  );
  // As it said: undo, and the promote's own undo.
  const before = await json("log", "todo", "-n", "1");
  await json("rewind", "todo", "--to", sealed);
  expect(await keys()).toEqual(["/carrots", "/eggs", "/milk"]);
  await json("rewind", "todo", "--to", (before["items"] as { hash: string }[])[0]?.hash as string);
  expect(await keys()).toEqual(["/bread", "/eggs", "/milk"]);
  expect(await json("verify", "todo")).toMatchObject({ ok: true });
});

test("values are compared: JSON by place, text by line, the rest by size", async () => {
  await json("fork", "todo", "--name", "values");
  const on = ["--branch", "values"];
  await put("/doc", '{"list":[{"id":1,"done":false}]}', ...on);
  await put("/text", "one\ntwo\nthree\n", ...on);
  await put("/gone", "was here", ...on);
  const file = join(folder.path, "binary");
  await writeFile(file, Buffer.from([0, 1, 2, 255]));
  await put("/bin", `@${file}`, ...on);
  await writeFile(join(folder.path, "large"), Buffer.alloc(1024 * 1024 + 1, "x"));
  await put("/large", "small", ...on);
  const { connect } = await import("@vlinder/agent-runtime");
  const agent = await connect({ agent: "todo" });
  const vectors = agent.branch("values").vectors;
  await vectors.put("/v", [1, 0], { metadata: { page: 1 } });
  const before = (await vectors.put("/w", [1, 0], { metadata: { page: 1 } })).state;
  await put("/doc", '{"list":[{"id":1,"done":true},{"id":2}],"n":1}', ...on);
  await put("/text", "one\ntwo and a half\nthree\n", ...on);
  await json("kv", "delete", "todo", "/gone", ...on);
  await writeFile(file, Buffer.from([0, 1, 2, 255, 254]));
  await put("/bin", `@${file}`, ...on);
  await put("/large", `@${join(folder.path, "large")}`, ...on);
  await vectors.put("/v", [0, 1], { metadata: { page: 1 } });
  await vectors.put("/w", [1, 0], { metadata: { page: 2 } });
  await agent.close();

  expect(await shown("diff", "todo", before, "values", "--values")).toBe(
    [
      "~  /bin  4 B → 5 B",
      "     binary, 4 B → 5 B",
      "~  /doc  32 B → 46 B",
      "     ~ /list/0/done  false → true",
      '     + /list/1  {"id":2}',
      "     + /n  1",
      "-  /gone  8 B",
      "     -was here",
      "~  /large  5 B → 1.0 MB",
      "     not compared: over 1.0 MB, 5 B → 1.0 MB",
      "~  /text  14 B → 25 B",
      "     @@ -1,3 +1,3 @@",
      "      one",
      "     -two",
      "     +two and a half",
      "      three",
      "~  /v (vector)  30 B",
      "     other components",
      "~  /w (vector)  30 B",
      "     the same components",
      "     ~ /metadata/page  1 → 2",
      "6 changed, 1 removed",
      "",
    ].join("\n"),
  );
  const found = await json("diff", "todo", before, "values", "--values", "--prefix", "/doc");
  expect(found).toMatchObject({
    counts: { added: 0, changed: 1, removed: 0 },
    items: [
      {
        key: "/doc",
        values: {
          kind: "json",
          changes: [
            { op: "change", path: "/list/0/done", from: "false", to: "true" },
            { op: "add", path: "/list/1", to: '{"id":2}' },
            { op: "add", path: "/n", to: "1" },
          ],
        },
      },
    ],
  });
  const show = await json("show", "todo", "values@0s", "--values");
  expect(show).toMatchObject({
    event: { kind: "vector.put" },
    against: { counts: { changed: 1 }, items: [{ key: "/w", values: { kind: "vector", moved: false } }] },
  });
  expect(await shown("show", "todo", "values", "--values")).toMatch(/~ {2}\/w \(vector\) {2}30 B\n {5}the same/);
}, 30_000);

test("a time names a state wherever one is named", async () => {
  const { items } = (await json("log", "todo", "-n", "1")) as { items: { hash: string; time: string }[] };
  const [{ hash, time }] = items as [{ hash: string; time: string }];
  const next = await put("/later", "1");
  const { items: later } = (await json("log", "todo", "-n", "1")) as { items: { time: string }[] };
  const between = new Date(Date.parse(later[0]?.time as string) - 1).toISOString();
  expect(time <= between).toBe(true);
  expect(await json("fork", "todo", "--from", between, "--name", "then")).toMatchObject({ state: hash });
  expect(await json("show", "todo", `main@${between}`)).toMatchObject({ hash });
  expect(await json("show", "todo", "@0s")).toMatchObject({ hash: next });
  expect(await keys("--at", between)).not.toContain("/later");
  expect(await json("diff", "todo", `then@${between}`, "main")).toMatchObject({ counts: { added: 1 } });
  const early = await vlinder(["kv", "list", "todo", "--at", "yesterday", "--json"]);
  expect([early.code, documentOf(early)]).toMatchObject([1, { error: { code: "not_found" } }]);
});

test("a log of all branches, of a session, and in pages that go on", async () => {
  const { connect } = await import("@vlinder/agent-runtime");
  const agent = await connect({ agent: "todo" });
  await agent.client.request("todo" as never, "kv.put", { key: "/s", value: Buffer.from("1"), session: "s-1" });
  await agent.close();
  await put("/after", "1");
  const { items } = (await json("log", "todo", "--session", "s-1")) as { items: { session: string }[] };
  expect(items).toHaveLength(1);
  const { items: branches } = (await json("branch", "list", "todo")) as { items: { head: string }[] };
  const { items: all } = (await json("log", "todo", "--all", "-n", "1000")) as { items: { hash: string }[] };
  const hashes = all.map(({ hash }) => hash);
  expect(hashes).toEqual(expect.arrayContaining(branches.map(({ head }) => head)));
  expect(new Set(hashes).size).toBe(hashes.length);
  const paged: string[] = [];
  for (let after: string | null = null; ;) {
    const page = await json("log", "todo", "--all", "-n", "3", ...(after === null ? [] : ["--after", after]));
    paged.push(...(page["items"] as { hash: string }[]).map(({ hash }) => hash));
    after = page["next"] as string | null;
    if (after === null) break;
  }
  expect(paged).toEqual(hashes);
});
