import { existsSync } from "node:fs";
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { errorOf } from "./folders.ts";
import { TODO, todo, world } from "./world.ts";

describe("after a crash", () => {
  test.each(["open todo", "contract todo", "record"])(
    "at: %s, nothing is registered, and the same call finishes it",
    async (at) => {
      const { home, storage, start, agentDir } = await world();
      const dir = await agentDir("todo", TODO);
      const first = await start();
      const recordFile = join(home.agentFolder(todo), "registration.json");
      let fired = false;
      storage.fault = (step) => {
        if (!step.startsWith(at)) return;
        fired = true;
        throw new Error("crash");
      };
      if (at === "record") {
        // In the record's place is a folder, so that its rename fails.
        await mkdir(join(recordFile, "x"), { recursive: true });
        fired = true;
      }
      await expect(first.register(dir)).rejects.toThrow();
      expect(fired).toBe(true);
      if (at !== "open todo") expect(storage.calls.at(-1)).toBe("close todo");
      storage.fault = () => {};
      await rm(recordFile, { recursive: true, force: true });
      const second = await start();
      expect(second.list()).toEqual([]);
      expect(await second.register(dir)).toMatchObject({ result: "created" });
      expect(await second.register(dir)).toMatchObject({ result: "unchanged" });
    },
  );

  test.each([
    ["half a record", async (path: string) => writeFile(path, (await readFile(path, "utf8")).slice(0, 40))],
    ["an empty record", (path: string) => writeFile(path, "")],
    [
      "a record of another agent",
      async (path: string) => writeFile(path, (await readFile(path, "utf8")).replace('"todo"', '"other"')),
    ],
  ])("%s: the agent shows its error, others work, adding again repairs", async (_what, damage) => {
    const { home, start, agentDir } = await world();
    const first = await start();
    const dir = await agentDir("todo", TODO);
    const { state } = await first.register(dir);
    await first.register(await agentDir("notes", TODO.replace("todo", "notes")));
    await first.close();
    await damage(join(home.agentFolder(todo), "registration.json"));
    const second = await start();
    expect(second.list().map(({ name, error }) => [name, error?.code ?? null])).toEqual([
      ["notes", null],
      ["todo", "invalid"],
    ]);
    expect(await errorOf(() => second.get(todo))).toMatchObject({ code: "invalid" });
    const reply = await second.register(dir);
    expect(reply).toMatchObject({ result: "created", state });
    expect(reply.notes.at(-1)).toContain("registration.json.damaged");
    expect(second.get(todo).engine.closed).toBe(false);
  });

  test("a record of a newer version is neither used nor replaced", async () => {
    const { home, start, agentDir } = await world();
    const first = await start();
    const dir = await agentDir("todo", TODO);
    await first.register(dir);
    await first.close();
    const path = join(home.agentFolder(todo), "registration.json");
    const newer = (await readFile(path, "utf8")).replace('"v": 1', '"v": 2');
    await writeFile(path, newer);
    const second = await start();
    for (const ask of [() => second.get(todo), () => second.register(dir), () => second.plan(dir)]) {
      expect(await errorOf(ask)).toMatchObject({
        code: "invalid",
        message: `${path} has version 2; this release knows 1`,
        remedy: expect.stringContaining("update"),
      });
    }
    expect(await readFile(path, "utf8")).toBe(newer);
  });

  test("a record that is missing: the data is taken up, and that is said", async () => {
    const { home, start, agentDir } = await world();
    const dir = await agentDir("todo", TODO);
    const first = await start();
    const { state } = await first.register(dir);
    await first.close();
    await rm(join(home.agentFolder(todo), "registration.json"));
    const reply = await (await start()).register(dir);
    expect(reply).toMatchObject({ result: "created", state });
    expect(reply.notes).toEqual([`${home.agentFolder(todo)}/objects.db was there already and was taken up`]);
  });

  test("storage that is gone is no empty storage", async () => {
    const { home, start, agentDir, storage } = await world();
    const dir = await agentDir("todo", TODO);
    const first = await start();
    await first.register(dir);
    await first.close();
    const file = join(home.agentFolder(todo), "objects.db");
    await rename(file, `${file}.aside`);
    const second = await start();
    for (const work of [() => second.get(todo), () => second.register(dir)]) {
      const error = await errorOf(work);
      expect(error).toMatchObject({ code: "unavailable", retryable: false });
      expect(error.message).toContain(`there is no ${file}`);
    }
    expect(existsSync(file)).toBe(false);
    await cp(`${file}.aside`, file);
    expect(await second.register(dir)).toMatchObject({ result: "unchanged" });
    expect(storage.calls.at(-2)).toMatch(/^open todo/);
  });

  test("an agent whose storage does not open is shown; the daemon starts", async () => {
    const { start, agentDir, storage } = await world();
    const first = await start();
    await first.register(await agentDir("todo", TODO));
    await first.register(await agentDir("notes", TODO.replace("todo", "notes")));
    await first.close();
    storage.fault = (step) => {
      if (step.startsWith("open todo")) throw new Error("not a database");
    };
    const second = await start();
    expect(second.list().map(({ name, error }) => [name, error?.message ?? null])).toEqual([
      ["notes", null],
      ["todo", "not a database"],
    ]);
    expect(second.list()[1]?.registration?.name).toBe("todo");
  });

  test("folders that are no agent's are left alone", async () => {
    const { home, start } = await world();
    await mkdir(join(home.agents, "Not An Agent"));
    await mkdir(join(home.agents, "interrupted"));
    await writeFile(join(home.agents, ".DS_Store"), "");
    expect((await start()).list()).toEqual([]);
    expect((await readdir(home.agents)).toSorted()).toEqual([".DS_Store", "Not An Agent", "interrupted"]);
  });
});
