import { execFileSync } from "node:child_process";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { stripTypeScriptTypes } from "node:module";
import { join } from "node:path";
import { expect, test } from "vitest";
import { manifestOf } from "../../src/registry/manifest.ts";
import { writeTemplate } from "../../src/registry/template.ts";
import { readTomlFile } from "../../src/registry/toml-source.ts";
import { errorOf, temporaryFolder } from "./folders.ts";

test("writes an agent that can be registered", async () => {
  const dir = join(await temporaryFolder(), "agents", "My Notes!");
  const { name, files } = await writeTemplate(dir);
  expect(name).toBe("my-notes");
  expect(files).toEqual(["agent.toml", "main.ts", "package.json", ".gitignore"].map((file) => join(dir, file)));
  const source = await readTomlFile(join(dir, "agent.toml"));
  expect(manifestOf(source!, [], null)).toMatchObject({
    name: "my-notes",
    objectStorage: "sqlite://objects.db",
    runtime: "process",
    executable: "node main.ts",
  });
  const main = await readFile(join(dir, "main.ts"), "utf8");
  expect(main).toContain('serve("my-notes",');
  expect(() => stripTypeScriptTypes(main)).not.toThrow();
  expect(JSON.parse(await readFile(join(dir, "package.json"), "utf8"))).toMatchObject({
    name: "my-notes",
    type: "module",
  });
});

test("the SDK is linked where it would not be found, and nowhere else", async () => {
  const outside = join(await temporaryFolder(), "far");
  const { link } = await writeTemplate(outside);
  expect(link).toBe(join(outside, "node_modules", "@vlinder", "agent-runtime"));
  const importing = `import { serve } from "@vlinder/agent-runtime"; console.log(typeof serve);`;
  await writeFile(join(outside, "try.mjs"), importing);
  expect(execFileSync(process.execPath, [join(outside, "try.mjs")], { encoding: "utf8" })).toBe("function\n");

  const project = await temporaryFolder();
  const sdk = join(project, "node_modules", "@vlinder", "agent-runtime");
  await mkdir(sdk, { recursive: true });
  await writeFile(join(sdk, "package.json"), '{"name":"@vlinder/agent-runtime"}');
  const inside = await writeTemplate(join(project, "near"));
  expect(inside.link).toBeNull();
  expect(await readdir(join(project, "near"))).not.toContain("node_modules");
});

test("an empty folder is taken, one with anything in it is not touched", async () => {
  const dir = join(await temporaryFolder(), "todo");
  await mkdir(dir);
  await writeTemplate(dir);
  await writeFile(join(dir, "main.ts"), "mine");
  expect((await errorOf(() => writeTemplate(dir))).code).toBe("conflict");
  expect(await readFile(join(dir, "main.ts"), "utf8")).toBe("mine");
  const hidden = join(await temporaryFolder(), "x");
  await mkdir(join(hidden, ".git"), { recursive: true });
  expect((await errorOf(() => writeTemplate(hidden))).code).toBe("conflict");
  expect(await readdir(hidden)).toEqual([".git"]);
});

test("a folder that gives no name is refused before it is made", async () => {
  const root = await temporaryFolder();
  expect((await errorOf(() => writeTemplate(join(root, "日本")))).code).toBe("invalid");
  expect((await errorOf(() => writeTemplate(join(root, "admin")))).code).toBe("invalid");
  expect(await readdir(root)).toEqual([]);
});
