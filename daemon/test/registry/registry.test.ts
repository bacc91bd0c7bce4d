import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encodeContract, sha256, VlinderError } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { openHome } from "../../src/registry/home.ts";
import { Registry } from "../../src/registry/registry.ts";
import { errorOf } from "./folders.ts";
import { log, TODO, todo, world } from "./world.ts";

describe("register", () => {
  test("provisions, sets the contract, and only then writes the record", async () => {
    const { home, storage, start, agentDir, record } = await world();
    const dir = await agentDir("todo", TODO + 'vector_storage = "sqlite://v/vectors.db"\n');
    const registry = await start();
    const recordFile = join(home.agentFolder(todo), "registration.json");
    storage.fault = () => expect(existsSync(recordFile)).toBe(false);
    const reply = await registry.register(dir);
    storage.fault = () => {};
    expect(reply).toMatchObject({
      agent: "todo",
      result: "created",
      storage: { objects: "sqlite://objects.db", vectors: "sqlite://v/vectors.db" },
      notes: [],
    });
    expect(storage.calls).toEqual(["open todo sqlite://objects.db sqlite://v/vectors.db", "contract todo"]);
    const agent = registry.get(todo);
    expect(agent.manifest?.vectorStorage).toBe("sqlite://v/vectors.db");
    expect(reply.contract).toBe(sha256(encodeContract((await agent.engine.contract())!)));
    expect(await record()).toMatchObject({
      v: 1,
      name: "todo",
      source: dir,
      objects: "sqlite://objects.db",
      removedAt: null,
    });
    expect((await readdir(home.agentFolder(todo))).toSorted()).toEqual(["objects.db", "registration.json", "v"]);
  });

  test("again: unchanged; edited: updated, with a contract commit when the contract is another", async () => {
    const { start, agentDir, storage } = await world();
    const dir = await agentDir("todo", TODO);
    const registry = await start();
    const first = await registry.register(dir);
    expect(await registry.register(dir)).toMatchObject({ result: "unchanged", state: first.state });
    await agentDir("todo", TODO + 'description = "new"\n');
    expect(await registry.register(dir)).toMatchObject({ result: "updated", state: first.state });
    expect(registry.get(todo).manifest?.description).toBe("new");
    await agentDir("todo", TODO + '[merge]\n"/a" = "newest"\n');
    const third = await registry.register(dir);
    expect(third.result).toBe("updated");
    expect(third.state).not.toBe(first.state);
    expect(storage.calls.filter((call) => call.startsWith("open"))).toHaveLength(1);
  });

  test("an agent whose storage was away is opened by a later try; one that is no use is not tried", async () => {
    const { start, agentDir, storage } = await world();
    const dir = await agentDir("todo", TODO);
    const first = await start();
    await first.register(dir);
    await first.close();
    let message = "the disk is full";
    let retryable = true;
    storage.fault = () => {
      throw new VlinderError("unavailable", message, { retryable });
    };
    const second = await start();
    expect(() => second.get(todo)).toThrow("the disk is full");
    expect(await second.retry()).toEqual([]);
    message = "the file is damaged";
    retryable = false;
    expect(await second.retry()).toEqual([]);
    expect(() => second.get(todo)).toThrow("the file is damaged");
    storage.fault = () => {};
    expect(await second.retry(), "it needs a person").toEqual([]);
    const third = await start();
    expect(third.get(todo).name).toBe("todo");
    expect(await third.retry()).toEqual([]);
    await Promise.all([second.close(), third.close()]);

    storage.fault = () => {
      throw new VlinderError("unavailable", "the disk is full");
    };
    const fourth = await start();
    storage.fault = () => {};
    expect((await Promise.all([fourth.retry(), fourth.retry()])).flat().map(({ name }) => name)).toContain("todo");
    expect(fourth.get(todo).name).toBe("todo");
    expect(storage.calls.filter((call) => call.startsWith("open"))).toHaveLength(3);
  });

  test("survives a restart, with the manifest as it was registered", async () => {
    const { start, agentDir, storage } = await world();
    const dir = await agentDir("todo", TODO);
    const first = await start();
    await first.register(dir);
    await first.close();
    await agentDir("todo", "broken = [");
    const second = await start();
    expect(second.get(todo).manifest?.name).toBe("todo");
    expect(second.list().map(({ name, error }) => [name, error])).toEqual([["todo", null]]);
    expect(storage.calls.filter((call) => call.startsWith("contract"))).toHaveLength(1);
  });

  test("a home that was moved still finds its storage", async () => {
    const { root, home, config, storage, start, agentDir } = await world();
    const first = await start();
    await first.register(await agentDir("todo", TODO));
    await first.close();
    await rename(home.path, join(root, "moved"));
    const moved = await openHome(join(root, "moved"));
    const second = await Registry.open({ home: moved, config, openAgent: storage.openAgent, log });
    expect(second.get(todo).storage.objects.path).toBe(join(root, "moved/agents/todo/objects.db"));
  });

  test("memory:// starts again from agent.toml, and says what it is", async () => {
    const { start, agentDir } = await world();
    const dir = await agentDir("todo", TODO.replace("sqlite://objects.db", "memory://x"));
    const first = await start();
    expect((await first.register(dir)).notes).toEqual(["memory:// storage is gone when the daemon stops"]);
    await first.close();
    expect(await (await start()).get(todo).engine.contract()).toMatchObject({ name: "todo" });
  });

  test("memory:// is not emptied by a changed vector storage", async () => {
    const { start, agentDir } = await world();
    const toml = TODO.replace("sqlite://objects.db", "memory://x");
    const registry = await start();
    await registry.register(await agentDir("todo", toml));
    const { engine } = registry.get(todo);
    const edited = await agentDir("todo", `${toml}vector_storage = "memory://v"\n`);
    await expect(registry.register(edited)).rejects.toMatchObject({ code: "conflict", remedy: /remove the agent/ });
    expect(registry.get(todo).engine).toBe(engine);
  });

  test("an executable that can't be split into words is refused with its place; what is registered already is served", async () => {
    const { start, agentDir, root } = await world();
    const toml = (executable: string) => `${TODO}runtime = "process"\nexecutable = "${executable}"\n`;
    const bad = await errorOf(async () => (await start()).register(await agentDir("todo", toml("node 'main.ts"))));
    expect(bad).toMatchObject({ code: "invalid", message: expect.stringMatching(/agent\.toml:4:14: .*not closed/) });
    const registry = await start();
    await registry.register(await agentDir("todo", toml("node main.ts")));
    const record = join(root, "home", "agents", "todo", "registration.json");
    const text = await readFile(record, "utf8");
    await registry.close();
    await writeFile(record, text.replace("node main.ts", "node 'main.ts"));
    expect((await start()).get(todo).manifest?.executable).toBe("node 'main.ts");
  });

  test("calls at the same time are done one after the other", async () => {
    const { start, agentDir, storage } = await world();
    const dir = await agentDir("todo", TODO);
    const registry = await start();
    const replies = await Promise.all([registry.register(dir), registry.register(dir), registry.register(dir)]);
    expect(replies.map(({ result }) => result)).toEqual(["created", "unchanged", "unchanged"]);
    expect(storage.calls.filter((call) => call.startsWith("open"))).toHaveLength(1);
  });
});

describe("vectors", () => {
  const WITH = TODO + 'vector_storage = "sqlite://vectors.db"\n[vectors]\ndimension = 3\n';

  test("declared later: provisioned; dropped: kept and refused; declared again: taken up", async () => {
    const { home, start, agentDir, storage } = await world();
    const dir = await agentDir("todo", TODO);
    const registry = await start();
    await registry.register(dir);
    expect(registry.get(todo).vectors).toBeNull();
    await agentDir("todo", WITH);
    expect(await registry.register(dir)).toMatchObject({
      result: "updated",
      storage: { vectors: "sqlite://vectors.db" },
    });
    expect(registry.get(todo).vectors).not.toBeNull();
    await agentDir("todo", TODO);
    await registry.register(dir);
    expect(registry.get(todo).vectors).toBeNull();
    expect(existsSync(join(home.agentFolder(todo), "vectors.db"))).toBe(true);
    expect(storage.calls.filter((call) => call === "close todo")).toHaveLength(2);
    expect(registry.get(todo).engine.closed).toBe(false);
  });

  test("a contract that the engine refuses leaves what was served before", async () => {
    const { start, agentDir, record } = await world();
    const dir = await agentDir("todo", WITH);
    const registry = await start();
    await registry.register(dir);
    const before = await record();
    await agentDir("todo", WITH.replace("= 3", "= 4"));
    expect(await errorOf(() => registry.register(dir))).toMatchObject({ code: "invalid" });
    expect(await registry.get(todo).engine.contract()).toMatchObject({ vectors: { dimension: 3 } });
    expect(await record()).toEqual(before);
  });

  test("a dimension that the first vector fixed stays", async () => {
    const { start, agentDir } = await world();
    const open = WITH.replace("dimension = 3", "");
    const dir = await agentDir("todo", open);
    const registry = await start();
    await registry.register(dir);
    const { engine } = registry.get(todo);
    await engine.setContract({ ...(await engine.contract())!, vectors: { metric: "cosine", dimension: 7 } });
    expect(await registry.register(dir)).toMatchObject({ result: "unchanged" });
    expect(await engine.contract()).toMatchObject({ vectors: { dimension: 7 } });
  });

  test("when storage can't be opened anew, what was served before is again", async () => {
    const { start, agentDir, storage } = await world();
    const dir = await agentDir("todo", TODO);
    const registry = await start();
    await registry.register(dir);
    await agentDir("todo", WITH);
    storage.fault = (step) => {
      if (step.startsWith("open") && step.endsWith("vectors.db")) throw new Error("disk full");
    };
    await expect(registry.register(dir)).rejects.toThrow("disk full");
    expect(registry.get(todo).vectors).toBeNull();
    expect(registry.get(todo).engine.closed).toBe(false);
    storage.fault = () => {};
    expect(await registry.register(dir)).toMatchObject({ result: "updated" });
  });
});

describe("plan", () => {
  test("says what registration would do, and does nothing", async () => {
    const { home, storage, start, agentDir } = await world();
    const dir = await agentDir("todo", TODO + 'vector_storage = "default"\n');
    const registry = await start();
    const plan = await registry.plan(dir);
    expect(plan).toMatchObject({ agent: "todo", dir, registered: false });
    expect(plan.steps.map(({ what }) => what)).toEqual([
      "create object storage",
      "create vector storage",
      "commit the contract",
      "make credentials",
      "write the registration",
    ]);
    expect(plan.steps[0]?.detail).toBe(`sqlite://objects.db (${home.agentFolder(todo)}/objects.db)`);
    expect(storage.calls).toEqual([]);
    expect(await readdir(home.agents)).toEqual([]);
    const reply = await registry.register(dir);
    expect(plan.contract).toBe(reply.contract);
    expect(await registry.plan(dir)).toMatchObject({ registered: true, steps: [] });
    await agentDir("todo", TODO + '[merge]\n"/a" = "newest"\n');
    expect((await registry.plan(dir)).steps.map(({ what }) => what)).toEqual([
      "stop serving vectors",
      "commit the contract",
      "write the registration",
    ]);
  });
});

describe("remove", () => {
  test("keeps data, and adding again takes it up", async () => {
    const { home, start, agentDir, record } = await world();
    const dir = await agentDir("todo", TODO);
    const registry = await start();
    const { state } = await registry.register(dir);
    expect(await registry.remove(todo, { purge: false })).toEqual({
      agent: "todo",
      purged: false,
      kept: home.agentFolder(todo),
    });
    expect(registry.list()).toEqual([]);
    expect(registry.isRemoved(todo)).toBe(true);
    expect(await errorOf(() => registry.get(todo))).toMatchObject({ code: "not_registered" });
    expect(await errorOf(() => registry.adopt(todo, { vectors: false }))).toMatchObject({ code: "conflict" });
    expect(await errorOf(() => registry.remove(todo, { purge: false }))).toMatchObject({ code: "not_registered" });
    expect((await record())["removedAt"]).not.toBeNull();
    await registry.close();
    const second = await start();
    expect(second.isRemoved(todo)).toBe(true);
    const moved = await agentDir("moved", TODO);
    const reply = await second.register(moved);
    expect(reply).toMatchObject({ result: "created", state });
    expect(reply.notes).toEqual(["it was removed before; the data that was kept was taken up again"]);
    expect(second.isRemoved(todo)).toBe(false);
  });

  test("with purge deletes all but the record, now or later; also when a crash cut it off", async () => {
    const { home, start, agentDir } = await world();
    const registry = await start();
    await registry.register(await agentDir("todo", TODO));
    const folder = home.agentFolder(todo);
    await writeFile(join(folder, "objects.db-wal"), "");
    await registry.remove(todo, { purge: false });
    expect(await registry.remove(todo, { purge: true })).toEqual({ agent: "todo", purged: true, kept: null });
    expect(await readdir(folder)).toEqual(["registration.json"]);
    expect(registry.isRemoved(todo)).toBe(true);
    await registry.close();
    await writeFile(join(folder, "objects.db"), "left by the crash");
    const second = await start();
    expect(await readdir(folder)).toEqual(["registration.json"]);
    expect((await second.register(await agentDir("todo", TODO.replace("objects.db", "new.db")))).notes).toEqual([]);
  });

  test("leaves files outside of the home, and names them", async () => {
    const { root, start, agentDir } = await world('[storage]\noutside = ["$ROOT/disk"]');
    await mkdir(join(root, "disk"));
    const registry = await start();
    await registry.register(await agentDir("todo", `name = "todo"\nobject_storage = "sqlite://${root}/disk/o.db"\n`));
    const reply = await registry.remove(todo, { purge: true });
    expect(reply.kept).toBe(`sqlite://${root}/disk/o.db`);
    expect(existsSync(join(root, "disk/o.db"))).toBe(true);
  });

  test("of an agent that is not there", async () => {
    const registry = await (await world()).start();
    const error = await errorOf(() => registry.remove(todo, { purge: true }));
    expect(error).toMatchObject({ code: "not_registered", details: { agent: "todo" } });
    expect(error.remedy).toContain("vlinder agent add");
  });
});

describe("adopt", () => {
  test("opens storage for an agent that came by clone; its folder adopts it", async () => {
    const { start, agentDir, record } = await world();
    const first = await start();
    const agent = await first.adopt(todo, { vectors: false });
    expect(agent.registration).toMatchObject({
      source: null,
      manifest: null,
      objects: "sqlite://objects.db",
      vectors: null,
    });
    expect(await first.adopt(todo, { vectors: false })).toBe(agent);
    expect((await first.adopt(todo, { vectors: true })).vectors).not.toBeNull();
    await first.close();
    const second = await start();
    expect(second.get(todo)).toMatchObject({ manifest: null, registration: { vectors: "sqlite://vectors.db" } });
    const dir = await agentDir("todo", TODO + 'vector_storage = "default"\n');
    expect((await second.plan(dir)).registered).toBe(true);
    expect(await second.register(dir)).toMatchObject({ result: "adopted" });
    expect(await record()).toMatchObject({ source: dir });
    expect(await second.register(dir)).toMatchObject({ result: "unchanged" });
    const other = await agentDir("other", TODO);
    expect(await errorOf(() => second.register(other))).toMatchObject({ code: "conflict" });
  });

  test("leaves an agent that has a folder as its agent.toml says", async () => {
    const { start, agentDir } = await world();
    const registry = await start();
    await registry.register(await agentDir("todo", TODO));
    expect((await registry.adopt(todo, { vectors: true })).vectors).toBeNull();
  });
});

describe("close", () => {
  test("waits for what is under way, closes each agent, and refuses the rest", async () => {
    const { start, agentDir, storage } = await world();
    const registry = await start();
    const dir = await agentDir("todo", TODO + 'vector_storage = "default"\n');
    const under = registry.register(dir);
    await new Promise((resolve) => setImmediate(resolve));
    storage.fault = (step) => {
      if (step === "close vectors todo") throw new Error("can't flush");
    };
    await registry.close();
    expect(storage.calls.at(-1)).toBe("close todo");
    expect((await under).result).toBe("created");
    expect(await errorOf(() => registry.register(dir))).toMatchObject({ code: "unavailable" });
    await registry.close();
  });
});
