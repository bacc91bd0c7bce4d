import { readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { errorOf } from "./folders.ts";
import { TODO, todo, world } from "./world.ts";
describe("is refused", () => {
  test("no agent.toml, no folder, a file", async () => {
    const { root, start } = await world();
    const registry = await start();
    expect(await errorOf(() => registry.register(root))).toMatchObject({ code: "not_found" });
    expect(await errorOf(() => registry.plan(join(root, "nowhere")))).toMatchObject({ code: "not_found" });
    await writeFile(join(root, "agent.toml"), TODO);
    const error = await errorOf(() => registry.register(join(root, "agent.toml")));
    expect(error.message).toContain("is a file");
  });

  test("an invalid manifest, with its place; nothing is made", async () => {
    const { home, start, agentDir, storage } = await world();
    const dir = await agentDir("todo", 'name = "todo"\n\nobject_store = "sqlite://objects.db"\n');
    const registry = await start();
    for (const call of [() => registry.plan(dir), () => registry.register(dir)]) {
      expect((await errorOf(call)).message).toBe(
        `${dir}/agent.toml:3:1: unknown key "object_store"; did you mean "object_storage"? (and 1 more)`,
      );
    }
    expect(storage.calls).toEqual([]);
    expect(await readdir(home.agents)).toEqual([]);
  });

  test("the same name from another folder, but not through a link to the same one", async () => {
    const { root, start, agentDir } = await world();
    const registry = await start();
    const dir = await agentDir("todo", TODO);
    await registry.register(dir);
    const error = await errorOf(async () => registry.register(await agentDir("other", TODO)));
    expect(error).toMatchObject({ code: "conflict", details: { source: dir, dir: join(root, "other") } });
    expect(error.remedy).toContain("vlinder agent remove todo");
    await symlink(dir, join(root, "link"));
    expect(await registry.register(join(root, "link"))).toMatchObject({ result: "unchanged" });
  });

  test("a changed storage URI, also through config.toml; with the place and the remedy", async () => {
    const { start, agentDir, config } = await world();
    const dir = await agentDir("todo", 'name = "todo"\nobject_storage = "default"\nvector_storage = "default"\n');
    const first = await start();
    await first.register(dir);
    await agentDir("todo", 'name = "todo"\nobject_storage = "sqlite://new.db"\n');
    const error = await errorOf(() => first.register(dir));
    expect(error.code).toBe("conflict");
    expect(error.message).toBe(
      `${dir}/agent.toml:2:18: object_storage is sqlite://new.db, but the data of "todo" lies in sqlite://objects.db`,
    );
    expect(error.remedy).toContain('write object_storage = "sqlite://objects.db"');
    await agentDir("todo", 'name = "todo"\nobject_storage = "default"\nvector_storage = "sqlite://w.db"\n');
    expect((await errorOf(() => first.register(dir))).message).toContain("3:18: vector_storage is");
    await first.close();
    const moved = { ...config, storage: { ...config.storage, objects: "sqlite://other.db" } };
    const second = await start({ config: moved });
    await agentDir("todo", 'name = "todo"\nobject_storage = "default"\nvector_storage = "default"\n');
    expect((await errorOf(() => second.register(dir))).code).toBe("conflict");
    expect(second.get(todo).storage.objects.uri).toBe("sqlite://objects.db");
  });

  test("one file for two uses, or of two agents", async () => {
    const { root, start, agentDir } = await world('[storage]\noutside = ["$ROOT"]');
    const registry = await start();
    const both = await agentDir("todo", TODO + 'vector_storage = "sqlite://./objects.db"\n');
    expect((await errorOf(() => registry.register(both))).message).toContain(
      "3:18: object_storage is in the same file",
    );
    await registry.register(await agentDir("todo", TODO));
    const thief = await agentDir(
      "thief",
      `name = "thief"\nobject_storage = "sqlite://${root}/home/agents/todo/objects.db"\n`,
    );
    expect((await errorOf(() => registry.register(thief))).message).toContain('is storage of agent "todo"');
  });

  test("a place outside, without permission, with its position", async () => {
    const { start, agentDir } = await world();
    const dir = await agentDir("todo", 'name = "todo"\nobject_storage = "sqlite://../x.db"\n');
    const error = await errorOf(async () => (await start()).register(dir));
    expect(error.message).toMatch(/agent\.toml:2:18: "sqlite:\/\/\.\.\/x\.db" .*is outside of the agent's folder/);
    expect(error.remedy).toContain("[storage] outside");
  });
});
