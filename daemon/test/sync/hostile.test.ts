import { link, mkdir, readdir, readFile, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { canonicalJson, type DeviceId, type Hash, sha256 } from "@vlinder/protocol";
import { beforeEach, describe, expect, test } from "vitest";
import type { StoredObject } from "../../src/storage/object-storage.ts";
import { type Device, deviceFromSeed } from "../../src/sync/vault/device.ts";
import { encodeHead, type HeadBody, headPath } from "../../src/sync/head.ts";
import { encodePack } from "../../src/sync/pack.ts";
import { Machine, newDevice, tempBucket } from "./machine.ts";

let a: Machine;
let b: Machine;
let folder: string;

/** A pushed, b has pulled, a pushed one more pack: what b is about to read is there to be spoiled. */
beforeEach(async () => {
  const uri = await tempBucket();
  folder = fileURLToPath(uri);
  [a, b] = [await Machine.start(), await Machine.start()];
  for (const machine of [a, b]) await machine.sync.init(uri);
  await a.add();
  a.todo.put("/first", "1");
  await a.syncAll();
  await b.syncAll();
  a.todo.put("/second", "2");
  await a.push();
});

async function newestPack(): Promise<string> {
  const packs = join(folder, "agents/todo/packs");
  const { packs: names } = (await headOf(a)).body;
  return join(packs, `${names.at(-1)}.pack`);
}

async function headOf(machine: Machine): Promise<{ path: string; body: HeadBody; bytes: Buffer }> {
  const heads = join(folder, "agents/todo/heads", machine.device);
  const [name] = await readdir(heads);
  const path = join(heads, name as string);
  const bytes = await readFile(path);
  return { path, bytes, body: (JSON.parse(String(bytes)) as { body: HeadBody }).body };
}

async function putHead(body: HeadBody, device: Device): Promise<void> {
  const head = encodeHead(body, device);
  const path = join(folder, headPath({ agent: body.agent, device: body.device, n: body.n, hash: head.hash }));
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, head.bytes);
}

async function putPack(objects: readonly StoredObject[]): Promise<Hash> {
  const { name, bytes } = await encodePack(objects);
  await writeFile(join(folder, "agents/todo/packs", `${name}.pack`), bytes);
  return name;
}

const mallory = deviceFromSeed("ee".repeat(16) as DeviceId, Buffer.alloc(32, 7));

/** What b was before, it is after; and b goes on working. */
async function untouched(work: () => Promise<void>): Promise<void> {
  const before = { branches: b.todo.branches(), contents: b.todo.contents() };
  await work();
  expect({ branches: b.todo.branches(), contents: b.todo.contents() }).toEqual(before);
  b.todo.put("/goes-on", "1");
}

describe("a pack", () => {
  const spoil: Record<string, (path: string) => Promise<void>> = {
    "that is missing": (path) => rm(path),
    "with one byte changed": async (path) => {
      const bytes = await readFile(path);
      bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
      await writeFile(path, bytes);
    },
    "that was cut off": (path) => truncate(path, 40),
    "that is empty": (path) => truncate(path, 0),
    "swapped with another": async (path) => {
      const other = (await readdir(join(path, ".."))).find((name) => !path.endsWith(name)) as string;
      await rm(path);
      await link(join(path, "..", other), path);
    },
    "that is a link to a file outside": async (path) => {
      await rename(path, join(folder, "..", "outside"));
      await symlink(join(folder, "..", "outside"), path);
    },
  };
  for (const [what, how] of Object.entries(spoil)) {
    test(`${what} is an error with a remedy, and changes nothing; when it is back, all goes on`, async () => {
      const path = await newestPack();
      const good = await readFile(path);
      await how(path);
      await untouched(async () => {
        expect(await b.pull()).toMatchObject({ error: { details: { remedy: expect.any(String) } } });
      });
      expect((await b.sync.status()).agents[0]?.error).not.toBeNull();
      await rm(path, { force: true });
      await writeFile(path, good);
      await b.syncAll();
      await a.syncAll();
      expect(a.todo.head()).toBe(b.todo.head());
      expect((await b.sync.status()).agents[0]?.error).toBeNull();
    });
  }

  test("that stays bad does not keep what other machines wrote", async () => {
    const c = await Machine.start();
    await c.sync.init(a.sync.bucket as string);
    await c.add();
    c.todo.put("/from-c", "3");
    await c.push();
    await rm(await newestPack());
    const { error, branches } = await b.pull();
    expect(error).toMatchObject({ code: "unavailable" });
    expect(branches).toMatchObject([{ result: "merged" }]);
    expect(Object.keys(b.todo.contents())).toEqual(["/first", "/from-c"]);
  });

  test("of a trusted device whose commit lies about its snapshot is refused", async () => {
    const good = [...a.todo.objects].map(([name, bytes]) => {
      const [kind, hash] = name.split(" ") as [StoredObject["kind"], Hash];
      return { kind, hash, bytes };
    });
    const commit = JSON.parse(String(a.todo.objects.get(`commit ${a.todo.head()}`))) as Record<string, string>;
    const bytes = Buffer.from(canonicalJson({ ...commit, parents: [a.todo.head()], snapshot: sha256("lie") }));
    const lie = await putPack([...good, { kind: "commit", hash: sha256(bytes), bytes }]);
    const { body } = await headOf(a);
    const branches = body.branches.map((branch) => ({ ...branch, head: sha256(bytes) }));
    await putHead(
      { ...body, device: mallory.id, key: mallory.key, n: 1, predecessors: [], packs: [lie], branches },
      mallory,
    );
    await b.pull();
    expect(b.todo.contents()).toEqual({ "/first": "1", "/second": "2" });
    expect((await b.sync.status()).agents[0]?.error).toMatchObject({ code: "invalid", message: /snapshot/ });
  });
});

describe("a head", () => {
  const refuses = async (what: RegExp): Promise<void> => {
    const { notes, error } = await b.pull();
    expect(error).toBeNull();
    expect(notes.join("\n")).toMatch(what);
    expect(b.log.join("\n")).toMatch(what);
  };

  test("signed by another key for a known device is refused, and the true one is used", async () => {
    const { body } = await headOf(a);
    const branches = body.branches.map((branch) => ({ ...branch, sealed: true }));
    await putHead({ ...body, key: mallory.key, n: body.n + 1, predecessors: [sha256("x")], branches }, mallory);
    await refuses(/another key/);
    expect(b.todo.table.get(b.todo.main)).toMatchObject({ sealed: false, head: a.todo.head() });
  });

  test("with a forged signature is refused", async () => {
    const { body, bytes, path } = await headOf(a);
    const forged = Buffer.from(String(bytes).replace(`"n":${body.n}`, `"n":${body.n + 1}`));
    const name = { agent: body.agent, device: body.device, n: body.n + 1, hash: sha256(forged) };
    await writeFile(join(folder, headPath(name)), forged);
    await rm(path);
    await untouched(() => refuses(/signature is wrong/));
  });

  test("can't hide the head of another device", async () => {
    const { body, path } = await headOf(a);
    const hash = (path.split("-").at(-1) as string).slice(0, 64) as Hash;
    await putHead(
      { ...body, device: mallory.id, key: mallory.key, n: 9, predecessors: [hash], packs: [], branches: [] },
      mallory,
    );
    await b.pull();
    expect(b.todo.head()).toBe(a.todo.head());
  });

  test("that was changed under its name is refused", async () => {
    const { path, bytes } = await headOf(a);
    await writeFile(path, Buffer.concat([bytes.subarray(0, -1), Buffer.from(" }")]));
    await untouched(() => refuses(/not what its name says/));
  });

  test("of a bucket that was set back is refused", async () => {
    const old = await readFile((await headOf(a)).path);
    const { path, body } = await headOf(a);
    await b.syncAll();
    a.todo.put("/third", "3");
    await a.push();
    await b.syncAll();
    await rm((await headOf(a)).path);
    await writeFile(path, old);
    await untouched(() => refuses(new RegExp(`device ${body.device} was at ${body.n + 1} .* rolled back`)));
    // The device itself notices that its head is gone, and says it again.
    await a.push();
    expect((await b.pull()).notes.join()).not.toContain("rolled back");
  });

  test("that names commits which its packs do not hold is refused", async () => {
    const { body } = await headOf(a);
    const branches = body.branches.map((branch) => ({ ...branch, head: sha256("no such commit") }));
    await putHead({ ...body, device: mallory.id, key: mallory.key, n: 1, predecessors: [], branches }, mallory);
    await refuses(/commits that its packs do not hold/);
    expect(b.todo.head()).toBe(a.todo.head());
  });

  test("of another vault is refused", async () => {
    const { body } = await headOf(a);
    const vault = "00".repeat(16) as HeadBody["vault"];
    await putHead({ ...body, vault, device: mallory.id, key: mallory.key, n: 1, predecessors: [], packs: [] }, mallory);
    await refuses(/of vault 0000/);
    expect((await b.sync.status()).devices.map(({ device }) => device)).not.toContain(mallory.id);
  });

  test("under this machine's own id, not signed by it, is refused and takes no new id", async () => {
    const { body } = await headOf(a);
    await putHead({ ...body, device: b.device, key: mallory.key, n: 99, predecessors: [] }, mallory);
    const id = b.device;
    await refuses(/another key/);
    await b.push();
    expect(b.device).toBe(id);
  });

  test("of a new device is trusted once, and that is said", async () => {
    const { body } = await headOf(a);
    await putHead({ ...body, device: mallory.id, key: mallory.key, n: 1, predecessors: [] }, mallory);
    await refuses(new RegExp(`device ${mallory.id} is new`));
    expect((await b.pull()).notes).toEqual([]);
  });
});

describe("a bucket with other things in it", () => {
  test("is used, and they are named and left alone", async () => {
    const strange = [
      "agents/todo/heads/README.txt",
      "agents/todo/packs/copy of x.pack",
      `agents/todo/heads/${newDevice()}/0-${sha256("x")}.json`,
      `agents/todo/heads/../heads/${newDevice()}/99999999999999999-${sha256("x")}.json`,
      "agents/todo/desktop.ini",
    ];
    for (const path of [...strange, "agents/Not An Agent/x", "photo.jpg"]) {
      await mkdir(join(folder, path, ".."), { recursive: true });
      await writeFile(join(folder, path), "x");
    }
    const { notes } = await b.pull();
    expect(notes.join()).toContain("left alone: agents/todo/desktop.ini");
    await b.sync.pull();
    expect(b.log.join()).toContain("agents/Not An Agent/x");
    expect(b.todo.head()).toBe(a.todo.head());
    await a.push();
    for (const path of strange) expect(await readFile(join(folder, path), "utf8")).toBe("x");
  });

  test("gives no agent when all that it has of it is forged", async () => {
    const heads = join(folder, "agents/ghost/heads", mallory.id);
    await mkdir(heads, { recursive: true });
    await writeFile(join(heads, `1-${sha256("{}")}.json`), "{}");
    await b.sync.pull();
    expect([...b.agents.keys()]).toEqual(["todo"]);
    expect(await readdir(join(b.home, "agents"))).toEqual(["todo"]);
  });
});
