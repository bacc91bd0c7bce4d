import { execFileSync, spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { zstdCompressSync } from "node:zlib";
import {
  type AgentName,
  type BranchName,
  type Commit,
  type Hash,
  keyText,
  MAIN,
  parseKey,
  sha256,
} from "@vlinder/protocol";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type Core, openCore } from "../../src/daemon-core.ts";
import { createLog } from "../../src/observe/log.ts";
import { loadConfig } from "../../src/registry/config.ts";
import { openHome } from "../../src/registry/home.ts";
import type { StateEngine } from "../../src/state/engine.ts";
import { encodeArchiveManifest, decodeArchiveManifest, sumsOf } from "../../src/sync/archive/manifest.ts";
import { README_TEXT } from "../../src/sync/archive/names.ts";
import { paddingOf, TAR_END, tarHeader } from "../../src/sync/archive/tar.ts";
import { contents, put } from "../state/harness.ts";
import { noise } from "./noise.ts";
import { tempFolder, TODO } from "./machine.ts";
import { MEMORY_FOLDER } from "../../../test/harness/memory-folder.ts";

const quiet = (): void => undefined;

async function home(folder?: string): Promise<Core & { readonly path: string }> {
  const opened = await openHome(folder ?? (await tempFolder()));
  await writeFile(opened.config, '[storage]\ndurability = "process"\n');
  const core = await openCore({ home: opened, config: await loadConfig(opened, {}), log: createLog("silent") });
  if (folder === undefined) onTestFinished(() => core.close());
  return { ...core, path: opened.path };
}

async function register(core: Core, name = "todo", folder?: string): Promise<void> {
  const dir = folder ?? (await tempFolder());
  await writeFile(
    join(dir, "agent.toml"),
    `name = "${name}"\nobject_storage = "sqlite://objects.db"\nvector_storage = "sqlite://vectors.db"\n[vectors]\ndimension = 2\n`,
  );
  await core.register(dir);
}

/** An agent with everything that an archive has to carry. */
async function filled(): Promise<Core & { readonly path: string }> {
  const core = await home();
  await register(core);
  const { engine } = core.registry.get(TODO);
  await put(engine, { "/a": "one", "/é": "two", "/empty": "" });
  await put(engine, { "/large": noise(1, 300_000) });
  await engine.fork("side" as BranchName, engine.branch(MAIN).head);
  await put(engine, { "/a": "on side" }, "side" as BranchName);
  await put(engine, Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`/many/${i}`, `${i}`])));
  await engine.fork("gone" as BranchName, engine.branch(MAIN).head);
  await engine.deleteBranch("gone" as BranchName);
  await put(engine, { "/a": "wrong" });
  await engine.rewind(MAIN, (await engine.commit(engine.branch(MAIN).head)).parents[0] as Hash);
  await put(engine, { "/a": "on main" });
  await engine.merge(MAIN, engine.branch("side" as BranchName).head);
  return core;
}

async function exported(core: Core, more: { branch?: BranchName; overwrite?: boolean } = {}): Promise<string> {
  const path = join(await tempFolder(), "todo.tar");
  await core.exportAgent({ agent: TODO, path, branch: more.branch, overwrite: false, progress: quiet });
  return path;
}

async function logOf(engine: StateEngine, branch: string): Promise<Commit[]> {
  const log: Commit[] = [];
  for await (const { commit } of engine.log(await engine.resolve(branch))) log.push(commit);
  return log.toSorted((x, y) => ((x.time ?? "") + x.event.kind < (y.time ?? "") + y.event.kind ? -1 : 1));
}

/** In one order: after a start it is that of their ids. */
const byId = (engine: StateEngine) => engine.branches().toSorted((a, b) => (a.id < b.id ? -1 : 1));

const imported = (core: Core, path: string, into?: AgentName, name?: AgentName) =>
  core.importAgent({ path, into, name, progress: quiet });

describe("an agent as one tar", () => {
  test("comes back with every branch, commit and value, and nothing damaged", async () => {
    const from = await filled();
    const path = await exported(from);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const to = await home();
    const reply = await imported(to, path);
    expect(reply).toMatchObject({ agent: TODO, created: true });
    const [a, b] = [from.registry.get(TODO).engine, to.registry.get(TODO).engine];
    expect(byId(b)).toEqual(byId(a));
    expect(await contents(b)).toEqual(await contents(a));
    expect((await b.verify()).damage).toEqual([]);
    expect(to.registry.get(TODO).vectors).not.toBeNull();
    // It goes on there.
    await put(b, { "/a": "later" });
  });

  test("of the same state has the same bytes, and is there whole or not at all", async () => {
    const core = await filled();
    const [one, two] = [await exported(core), await exported(core)];
    expect(await readFile(two)).toEqual(await readFile(one));
    const again = { agent: TODO, path: one, branch: undefined, overwrite: false, progress: quiet };
    await expect(core.exportAgent(again)).rejects.toMatchObject({ code: "conflict", remedy: /--force/ });
    expect(await readFile(one)).toEqual(await readFile(two));
    await core.exportAgent({ ...again, overwrite: true });
    await expect(core.exportAgent({ ...again, path: join(one, "x.tar") })).rejects.toMatchObject({ code: "not_found" });
    await expect(core.exportAgent({ ...again, path: await tempFolder() })).rejects.toMatchObject({ code: "invalid" });
    expect(await readdir(join(one, ".."))).toEqual(["todo.tar"]);
  });

  test("can be checked and unpacked with tar and sha256sum", async () => {
    const path = await exported(await filled());
    const folder = await tempFolder();
    execFileSync("tar", ["xf", path, "-C", folder]);
    const listed = execFileSync("tar", ["tf", path], { encoding: "utf8" }).trim().split("\n");
    expect(listed).toEqual(["README.txt", "manifest.json", expect.stringMatching(/^packs\//), "SHA256SUMS"]);
    expect(execFileSync("sha256sum", ["-c", "SHA256SUMS"], { cwd: folder, encoding: "utf8" })).toMatch(
      /manifest.json: OK/,
    );
  });

  test("is read by the small program of the docs, which knows nothing of ours", async ({ skip }) => {
    for (const tool of ["python3", "zstd"]) {
      if (spawnSync(tool, ["--version"]).error !== undefined) skip(`there is no ${tool} here`);
    }
    const from = await filled();
    const path = await exported(from);
    const { engine } = from.registry.get(TODO);
    const reader = fileURLToPath(new URL("../../../docs/read-archive.py", import.meta.url));
    const run = (...more: string[]): Buffer => execFileSync("python3", [reader, path, ...more], { maxBuffer: 1 << 24 });
    for (const branch of ["main", "side"]) {
      const lines: string[] = engine.liveBranches().map(({ name, head }) => `branch ${head} ${name}`);
      for await (const { key, hash, size } of (await engine.view(await engine.resolve(branch))).entries("kv")) {
        lines.push(`key ${hash} ${size} ${keyText(key)}`);
      }
      const printed = run(branch).toString("utf8").trim().split("\n");
      const told = printed.map((line) => line.replace(/"(.*)"$/, (text) => JSON.parse(text) as string));
      expect(told.toSorted()).toEqual(lines.toSorted());
    }
    expect(run("main", "/large")).toEqual(noise(1, 300_000));
    expect(run("main", "/empty")).toEqual(Buffer.alloc(0));
  });

  test("of one branch has what it reaches; it can be merged, and is no agent of its own", async () => {
    const from = await filled();
    const path = await exported(from, { branch: "side" as BranchName });
    const to = await home();
    await expect(imported(to, path)).rejects.toMatchObject({ code: "invalid", message: /without main/ });
    expect(to.registry.list()).toEqual([]);
    await register(to);
    const reply = await imported(to, path, TODO);
    expect(reply).toMatchObject({ created: false, branches: [{ name: "side", result: "new" }] });
    expect((await contents(to.registry.get(TODO).engine, "side"))["/a"]).toBe("on side");
  });

  test("an agent that is here: refused, or merged as a pull does, and a second time nothing", async () => {
    const from = await filled();
    const path = await exported(from);
    await expect(imported(from, path)).rejects.toMatchObject({ code: "conflict", remedy: /--into todo/ });
    const other = await home();
    await register(other);
    await put(other.registry.get(TODO).engine, { "/here": "only here" });
    const reply = await imported(other, path, TODO);
    expect(reply.branches.find(({ name }) => name === "main")).toMatchObject({ result: "merged" });
    expect(await contents(other.registry.get(TODO).engine)).toMatchObject({
      "/here": "only here",
      "/a": expect.any(String),
    });
    const again = await imported(other, path, TODO);
    expect(again).toMatchObject({ commits: 0 });
    expect(again.branches.every(({ result }) => result === "unchanged")).toBe(true);
    await register(other, "notes");
    await expect(imported(other, path, "notes" as AgentName)).rejects.toMatchObject({ code: "invalid" });
    await expect(imported(other, path, "nobody" as AgentName)).rejects.toMatchObject({ code: "invalid" });
  });

  test("brings a history whose later packs say that values of the first were erased, under its name and another", async () => {
    const from = await home();
    await register(from);
    const { engine } = from.registry.get(TODO);
    await put(engine, { "/secret": "to be forgotten" });
    await engine.fork("side" as BranchName, engine.branch(MAIN).head);
    await put(engine, { "/secret": noise(9, 100_000) }, "side" as BranchName);
    for (let i = 0; i < 3; i++) await put(engine, { [`/large/${i}`]: noise(20 + i, 6_000_000) });
    await engine.retention.forget({ key: parseKey("/secret"), isPrefix: false }, true);
    const path = await exported(from);
    const to = await home();
    const copy = "copy" as AgentName;
    await imported(to, path);
    await imported(to, path, undefined, copy);
    for (const name of [TODO, copy]) {
      const brought = to.registry.get(name).engine;
      expect((await brought.verify()).damage).toEqual([]);
      const [hash, size] = [sha256("to be forgotten"), 15];
      await expect(brought.requiredValue(hash, size)).rejects.toMatchObject({ code: "erased" });
    }
    const erase = (await logOf(to.registry.get(copy).engine, "main")).find(({ event }) => event.kind === "erase");
    const heads = to.registry
      .get(copy)
      .engine.branches()
      .map(({ head }) => head);
    expect(heads).toEqual(expect.arrayContaining(erase?.event.info?.["heads"] as string[]));
  }, 60_000);

  test("under another name every commit is written anew, with the same values, trees, branches and times", async () => {
    const from = await filled();
    const path = await exported(from);
    const copy = "copy" as AgentName;
    expect(await imported(from, path, undefined, copy)).toMatchObject({ agent: copy, created: true });
    const [a, b] = [from.registry.get(TODO).engine, from.registry.get(copy).engine];
    const seen = (engine: StateEngine) =>
      engine
        .branches()
        .map(({ name, head, deleted }) => `${name} ${head === null} ${deleted.length}`)
        .toSorted();
    expect(seen(b)).toEqual(seen(a));
    for (const { name } of a.liveBranches()) {
      expect(await contents(b, name)).toEqual(await contents(a, name));
      const [logA, logB] = await Promise.all([a, b].map((engine) => logOf(engine, name)));
      expect(logB?.map(({ time, event, device }) => [time, event.kind, device])).toEqual(
        logA?.map(({ time, event, device }) => [time, event.kind, device]),
      );
      expect(logB?.every(({ agent }) => agent === copy)).toBe(true);
      const [rootsA, rootsB] = await Promise.all(
        [a, b].map(async (engine) => (await engine.view(await engine.resolve(name))).snapshot),
      );
      expect([rootsB?.kv, rootsB?.vectors]).toEqual([rootsA?.kv, rootsA?.vectors]);
    }
    expect((await b.contract())?.name).toBe(copy);
    expect((await b.verify()).damage).toEqual([]);
    await put(b, { "/a": "later" });
    expect((await readdir(join(from.path, "run"))).filter((name) => name.startsWith("rename"))).toEqual([]);
    await expect(imported(from, path, undefined, copy)).rejects.toMatchObject({ code: "conflict" });
  });

  test("a removed agent comes back by import, also a purged one", async () => {
    const core = await filled();
    const path = await exported(core);
    const before = byId(core.registry.get(TODO).engine);
    for (const purge of [false, true]) {
      await core.remove(TODO, { purge });
      expect(await imported(core, path)).toMatchObject({ created: true });
      expect(byId(core.registry.get(TODO).engine)).toEqual(before);
    }
  });
});

describe("what is no archive, or not all of one, changes nothing", () => {
  let good: Buffer;
  let entries: [string, Buffer][];
  let core: Core & { readonly path: string };
  let folder: string;

  const tarOf = (list: readonly (readonly [string, Buffer])[], end = TAR_END): Buffer =>
    Buffer.concat([
      ...list.flatMap(([name, bytes]) => [
        tarHeader(name, bytes.length, 0),
        bytes,
        Buffer.alloc(paddingOf(bytes.length)),
      ]),
      end,
    ]);
  /** The same archive with other packs, and sums that fit. */
  const withPacks = (packs: readonly Buffer[], manifest = entries[1]?.[1] as Buffer): Buffer => {
    const names = packs.map((pack) => sha256(pack));
    return tarOf([
      ["README.txt", Buffer.from(README_TEXT)],
      ["manifest.json", manifest],
      ...packs.map((pack, i) => [`packs/${names[i]}.pack`, pack] as const),
      ["SHA256SUMS", sumsOf({ readme: sha256(README_TEXT), manifest: sha256(manifest), packs: names })],
    ]);
  };
  const packOf = (raw: Buffer, length = raw.length): Buffer => {
    const header = Buffer.alloc(16);
    header.write("VLPACK\x01\x01", "latin1");
    header.writeUInt32LE(length, 12);
    return Buffer.concat([header, zstdCompressSync(raw)]);
  };
  const pack = (): Buffer => entries[2]?.[1] as Buffer;

  beforeAll(async () => {
    folder = await mkdtemp(join(MEMORY_FOLDER, "vlinder-archive-"));
    const made = await home(join(folder, "from"));
    await register(made, "todo", folder);
    await put(made.registry.get(TODO).engine, { "/a": "one", "/large": noise(2, 200_000) });
    const path = join(folder, "todo.tar");
    await made.exportAgent({ agent: TODO, path, branch: undefined, overwrite: false, progress: quiet });
    good = await readFile(path);
    await made.close();
    core = await home(join(folder, "to"));
    entries = [];
    for (let at = 0; good[at] !== 0;) {
      const size = Number.parseInt(good.toString("latin1", at + 124, at + 135), 8);
      const name = good.toString("latin1", at, at + 100).replace(/\0.*$/s, "");
      entries.push([name, good.subarray(at + 512, at + 512 + size)]);
      at += 512 + size + paddingOf(size);
    }
  });
  afterAll(async () => {
    await core.close();
    await rm(folder, { recursive: true });
  });

  const replaced = (index: number, entry: readonly [string, Buffer]): (readonly [string, Buffer])[] =>
    entries.map((one, i) => (i === index ? entry : one));
  const renamed = (name: string): Buffer => tarOf([...entries.slice(0, 2), [name, pack()], ...entries.slice(3)]);
  const patched = (offset: number, text: string): Buffer => {
    const copy = Buffer.from(good);
    copy.write(text, offset, "latin1");
    copy.write("        ", 148, "latin1");
    const sum = copy.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    copy.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    return copy;
  };

  test.each<[string, () => Buffer, RegExp]>([
    ["an empty file", () => Buffer.alloc(0), /ends where README.txt/],
    ["a text", () => Buffer.from("no tar at all ".repeat(100)), /checksum/],
    ["another tar", () => tarOf([["hello.txt", Buffer.from("hello")]]), /"hello.txt" where README.txt/],
    ["a path that leads out", () => renamed("../../etc/passwd"), /"\.\.\/\.\.\/etc\/passwd" where/],
    ["an absolute path", () => renamed("/etc/passwd"), /where SHA256SUMS should be/],
    ["a symbolic link", () => patched(156, "2"), /not a plain file/],
    ["a folder", () => patched(156, "5"), /not a plain file/],
    ["a name continued in a prefix", () => patched(345, "../.."), /not a plain file/],
    ["a size in base 256", () => patched(124, "\x80"), /has no size/],
    ["a pack under another name", () => renamed(`packs/${"ab".repeat(32)}.pack`), /SHA256SUMS is not that/],
    [
      "a pack twice",
      () => tarOf([...entries.slice(0, 3), entries[2] as [string, Buffer], ...entries.slice(3)]),
      /twice/,
    ],
    ["without its packs", () => withPacks([]), /no pack of it has that commit/],
    ["without its sums", () => tarOf(entries.slice(0, 3)), /ends where SHA256SUMS/],
    ["with something behind its end", () => Buffer.concat([good, Buffer.from("x")]), /behind its end/],
    ["with an entry more", () => tarOf([...entries, ["more", Buffer.alloc(1)]]), /no end/],
    [
      "a manifest of a newer release",
      () => withPacks([pack()], Buffer.from('{"agent":"todo","branches":[],"v":2}')),
      /format 2/,
    ],
    ["a manifest that is none", () => tarOf(replaced(1, ["manifest.json", Buffer.from("[]")])), /manifest/],
    [
      "a manifest of another agent",
      () => {
        const { branches } = decodeArchiveManifest(entries[1]?.[1] as Buffer);
        return withPacks([pack()], encodeArchiveManifest({ agent: "other" as AgentName, branches }));
      },
      /without main|belongs to the agent/,
    ],
    [
      "a branch whose head is in no pack",
      () => {
        const { agent, branches } = decodeArchiveManifest(entries[1]?.[1] as Buffer);
        return withPacks(
          [pack()],
          encodeArchiveManifest({ agent, branches: branches.map((one) => ({ ...one, head: sha256("x") })) }),
        );
      },
      /no pack of it has that commit/,
    ],
    ["a pack that unpacks to more than it says", () => withPacks([packOf(Buffer.alloc(1 << 20), 100)]), /decompressed/],
    [
      "a value that no commit's hash fits",
      () => withPacks([packOf(Buffer.concat([Buffer.from([7, 2]), Buffer.from("{}")]))]),
      /commit/,
    ],
    [
      "packs that would fill a disk",
      () =>
        withPacks(
          Array.from({ length: 80 }, (_, i) => {
            const one = packOf(Buffer.from([1, 1, i]));
            one.writeUInt32LE(64 << 20, 12);
            return one;
          }),
        ),
      /times its size/,
    ],
  ])("%s", async (_what, make, message) => {
    const path = join(await tempFolder(), "bad.tar");
    await writeFile(path, make());
    const before = await readdir(join(core.path, "agents"));
    await expect(imported(core, path)).rejects.toMatchObject({ message, remedy: expect.any(String) });
    expect(core.registry.list()).toEqual([]);
    expect(await readdir(join(core.path, "agents"))).toEqual(before);
  });

  test("cut off anywhere", async () => {
    const path = join(await tempFolder(), "cut.tar");
    for (const length of [100, 512, 1000, good.length / 2, good.length - 1024, good.length - 1]) {
      await writeFile(path, good);
      await truncate(path, Math.floor(length));
      await expect(imported(core, path), `${length}`).rejects.toMatchObject({ code: "invalid" });
    }
    expect(await readdir(join(core.path, "agents"))).toEqual([]);
  });

  test("a flipped byte anywhere in a pack, for a new agent and for one that is here", async () => {
    const path = join(await tempFolder(), "flipped.tar");
    const flipped = (at: number): Buffer => {
      const bytes = Buffer.from(good);
      bytes[at] = (bytes[at] as number) ^ 1;
      return bytes;
    };
    const start = good.indexOf("VLPACK\u0001");
    for (const at of [start + 20, start + 5000, start + pack().length - 1]) {
      await writeFile(path, flipped(at));
      await expect(imported(core, path)).rejects.toMatchObject({ code: "invalid", message: /not what its name says/ });
    }
    expect(await readdir(join(core.path, "agents"))).toEqual([]);
    // Right after all that, the good one is taken.
    await writeFile(path, good);
    expect(await imported(core, path)).toMatchObject({ created: true });
    const { engine } = core.registry.get(TODO);
    const before = engine.branches();
    await writeFile(path, flipped(start + 5000));
    await expect(imported(core, path, TODO)).rejects.toMatchObject({ code: "invalid" });
    expect(engine.branches()).toEqual(before);
  });

  test("a folder, a file that is not there", async () => {
    await mkdir(join(folder, "sub"));
    await expect(imported(core, join(folder, "sub"))).rejects.toMatchObject({ code: "invalid" });
    await expect(imported(core, join(folder, "none.tar"))).rejects.toMatchObject({ code: "not_found" });
  });
});
