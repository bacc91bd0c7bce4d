import { chmod, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync } from "node:zlib";
import { Decrypter } from "age-encryption";
import { canonicalJson, VlinderError } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { parseRecovery } from "../../../src/sync/vault/keys.ts";
import { Machine, tempBucket, TODO } from "../machine.ts";
import { noise } from "../noise.ts";
import { wrapped } from "../wrapped-bucket.ts";

/** A machine with a new encrypted vault, and its recovery key. */
async function founded(): Promise<{ a: Machine; uri: string; recovery: string }> {
  const [a, uri] = [await Machine.start(), await tempBucket()];
  const reply = await a.sync.init(uri, { encrypt: true, name: "laptop of Ada" });
  expect(reply).toMatchObject({ created: true, encrypted: true, recovery: expect.stringMatching(/^AGE-SECRET-KEY-1/) });
  await a.add();
  return { a, uri, recovery: reply.recovery as string };
}

/** Another machine, let in by a member. */
async function letIn(by: Machine, uri: string, name = "desk"): Promise<Machine> {
  const machine = await Machine.start();
  const { request, fingerprint } = await machine.sync.vault.request(name);
  const added = await by.sync.vault.add(request);
  expect(added).toMatchObject({ device: machine.device, name, fingerprint, added: true });
  await machine.sync.init(uri, { vault: added.hash });
  return machine;
}

async function filesIn(uri: string): Promise<Map<string, Buffer>> {
  const folder = fileURLToPath(uri);
  const found = new Map<string, Buffer>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) found.set(path.slice(folder.length + 1), await readFile(path));
  }
  return found;
}

describe("an encrypted vault", () => {
  test("is the same memory on machines that joined by the recovery key and by a member", async () => {
    const { a, uri, recovery } = await founded();
    a.todo.put("/first", "1");
    await a.syncAll();
    const b = await Machine.start();
    expect(await b.sync.init(uri, { key: `  ${recovery.toLowerCase()}\n` })).toMatchObject({
      created: false,
      recovery: null,
    });
    await b.syncAll();
    b.todo.put("/second", "2");
    await b.syncAll();
    const c = await letIn(b, uri);
    await c.syncAll();
    expect(c.todo.contents()).toEqual({ "/first": "1", "/second": "2" });
    c.todo.put("/third", "3");
    for (const machine of [c, a, b]) await machine.syncAll();
    expect(a.todo.contents()).toEqual({ "/first": "1", "/second": "2", "/third": "3" });
    expect(new Set([a, b, c].map(({ todo }) => todo.head())).size).toBe(1);
    const { items } = await a.sync.vault.devices();
    expect(items.map(({ name, self, trusted }) => ({ name, self, trusted }))[0]).toEqual({
      name: "laptop of Ada",
      self: true,
      trusted: true,
    });
    expect(items.map(({ device }) => device).toSorted()).toEqual([a.device, b.device, c.device].toSorted());
    expect(items.map(({ name }) => name)).toContain("desk");
    expect(items.every(({ seen, self }) => self || seen !== null)).toBe(true);
  });

  test("has nothing in its bucket that can be read: no value, key, branch, commit or name of a machine", async () => {
    const { a, uri } = await founded();
    const b = await letIn(a, uri, "a desk of Bob");
    a.todo.put("/secret/plan", "the butterfly lands at dawn");
    a.todo.fork("mothership");
    await a.syncAll();
    await b.syncAll();
    const files = await filesIn(uri);
    expect([...files.keys()].filter((path) => path.endsWith(".pack"))).toHaveLength(1);
    expect(files.size).toBeGreaterThanOrEqual(6);
    const head = a.todo.head() as string;
    for (const [path, bytes] of files) {
      const text = bytes.toString("latin1");
      const decoded = text.replaceAll(/[A-Za-z0-9+/=]{24,}/g, (part) => Buffer.from(part, "base64").toString("latin1"));
      // None so short that keys and ciphertext have it by chance.
      for (const word of ["secret/", "butterfly", "mothership", '"main"', head, "of Ada", "of Bob", "SECRET-KEY"]) {
        expect(text.includes(word) || decoded.includes(word), `${word} in ${path}`).toBe(false);
      }
      // What is encrypted is noise, also to a compressor.
      if (path.endsWith(".pack"))
        expect(brotliCompressSync(bytes.subarray(220)).length).toBeGreaterThan(bytes.length - 224);
    }
  });

  test("sends a small pack for a small change, and fetches it", async () => {
    const { a, uri } = await founded();
    const b = await letIn(a, uri);
    for (let i = 0; i < 100; i++) a.todo.put(`/many/${i}`, noise(i, 10_000));
    await a.syncAll();
    await b.syncAll();
    a.todo.put("/many/7", noise(1000, 1000));
    const { bytes, objects } = await a.push();
    expect(bytes).toBeLessThan(6000);
    const pulled = await b.pull();
    expect(pulled.objects).toBe(objects);
    expect(pulled.bytes).toBeLessThan(4000);
    expect(await a.push()).toMatchObject({ bytes: 0 });
  });

  test("is opened with the recovery key and an age program alone", async () => {
    const { a, uri, recovery } = await founded();
    a.todo.put("/k", "v".repeat(10));
    await a.push();
    const files = await filesIn(uri);
    const statement = [...files].find(([path]) => path.startsWith("members/"))?.[1] as Buffer;
    const { sealed } = (JSON.parse(String(statement)) as { body: { sealed: string } }).body;
    const decrypter = new Decrypter();
    decrypter.addIdentity(recovery);
    const { keys } = JSON.parse(await decrypter.decrypt(Buffer.from(sealed, "base64"), "text")) as { keys: string[] };
    const pack = [...files].find(([path]) => path.endsWith(".pack"))?.[1] as Buffer;
    const reader = new Decrypter();
    for (const key of keys) reader.addIdentity(key);
    const payload = await reader.decrypt(pack.subarray(16));
    expect(payload.length).toBeGreaterThan(100);
  });

  test("is brought to an empty bucket with its members", async () => {
    const { a, uri } = await founded();
    const b = await letIn(a, uri);
    a.todo.put("/k", "v");
    await a.syncAll();
    const elsewhere = await tempBucket();
    await a.sync.init(elsewhere);
    await a.push();
    await b.sync.init(elsewhere);
    await b.syncAll();
    expect(b.todo.contents()).toEqual({ "/k": "v" });
  });

  test("takes a home that was copied under its new id, vouched for by who it was", async () => {
    const { a, uri } = await founded();
    const b = await letIn(a, uri);
    a.todo.put("/k", "v");
    await a.syncAll();
    await b.syncAll();
    const former = a.device;
    // The home forgot what it wrote, as one that was restored from a backup.
    await a.sync.release(TODO);
    for (const name of await readdir(join(a.home, "agents/todo"))) await rm(join(a.home, "agents/todo", name));
    a.todo.put("/later", "1");
    await a.syncAll();
    expect(a.device).not.toBe(former);
    await b.syncAll();
    expect(b.todo.contents()).toEqual({ "/k": "v", "/later": "1" });
    expect((await b.sync.vault.devices()).items.filter(({ name }) => name === "laptop of Ada")).toHaveLength(2);
  });
});

test("a statement that a bucket did not take is written by the next try", async () => {
  const { a, uri } = await founded();
  const b = await Machine.start();
  const { request } = await b.sync.vault.request();
  let broken = true;
  a.wrap = (bucket) =>
    wrapped(bucket, {
      put: (files) => (broken ? Promise.reject(new VlinderError("denied", "read-only")) : bucket.put(files)),
    });
  await expect(a.sync.vault.add(request)).rejects.toMatchObject({ code: "denied" });
  const { hash } = await a.sync.vault.devices();
  await expect(b.sync.init(uri, { vault: hash as string })).rejects.toMatchObject({ code: "denied" });
  broken = false;
  expect(await a.sync.vault.add(request)).toMatchObject({ added: false });
  await b.sync.init(uri, { vault: hash as string });
});

describe("without a key", () => {
  test("init, pull and push say so, and change nothing", async () => {
    const { a, uri } = await founded();
    a.todo.put("/k", "v");
    await a.push();
    const before = [...(await filesIn(uri)).keys()];
    const b = await Machine.start();
    for (const options of [{}, { vault: "00".repeat(32) }, { key: "AGE-SECRET-KEY-1" }, { encrypt: true }]) {
      await expect(b.sync.init(uri, options)).rejects.toMatchObject({ remedy: expect.any(String) });
    }
    const { hash } = await a.sync.vault.devices();
    await expect(b.sync.init(uri, { vault: hash as string })).rejects.toMatchObject({ code: "denied" });
    expect((await b.sync.status()).vault).toBeNull();
    expect([...(await filesIn(uri)).keys()]).toEqual(before);

    // A member that lost its key.
    await rm(join(a.home, "sync/device-key"));
    await a.restart();
    a.todo.put("/owed", "1");
    for (const work of [() => a.sync.push(), () => a.sync.pull()]) {
      await expect(work()).rejects.toMatchObject({ code: "denied", remedy: expect.stringContaining("--key") });
    }
    expect([...(await filesIn(uri)).keys()]).toEqual(before);
    expect((await a.sync.status()).agents[0]).toMatchObject({ owed: { commits: 1 }, error: { code: "denied" } });
  });

  test("a member that lost its key comes back by the recovery key, and what it owed is pushed", async () => {
    const { a, uri, recovery } = await founded();
    const b = await letIn(a, uri);
    a.todo.put("/k", "v");
    await a.push();
    await rm(join(a.home, "sync/device-key"));
    await a.restart();
    a.todo.put("/owed", "1");
    await a.sync.init(uri, { key: recovery });
    await a.syncAll();
    await b.syncAll();
    expect(b.todo.contents()).toEqual({ "/k": "v", "/owed": "1" });
  });

  test("another key is refused without being repeated", async () => {
    const { uri } = await founded();
    const other = (await founded()).recovery;
    const b = await Machine.start();
    for (const key of [other, `${other.slice(0, -1)}Q`, "hunter2"]) {
      const error = (await b.sync.init(uri, { key }).catch((thrown: unknown) => thrown)) as Error;
      expect(error).toMatchObject({ code: expect.stringMatching(/denied|invalid/) });
      expect(canonicalJson({ m: error.message, c: String(error.cause), s: error.stack ?? "" })).not.toContain(key);
    }
    expect(b.log.join()).not.toContain("AGE-SECRET");
  });

  test("a key file that others can read is refused", async () => {
    const { a } = await founded();
    const file = join(a.home, "sync/device-key");
    await chmod(file, 0o640);
    await expect(a.restart()).rejects.toMatchObject({ code: "denied", remedy: `chmod 600 ${file}` });
    await chmod(file, 0o600);
    await a.restart();
    for (const entry of await readdir(a.home, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      expect(String(await readFile(join(entry.parentPath, entry.name)))).not.toContain("AGE-SECRET-KEY");
    }
  });
});

describe("distrust and rotate", () => {
  test("a removed device's later heads are not taken, and it can't open later packs; what was before stays", async () => {
    const { a, uri } = await founded();
    const [b, c] = [await letIn(a, uri, "b"), await letIn(a, uri, "c")];
    a.todo.put("/before", "1");
    for (const machine of [a, b, c, a]) await machine.syncAll();
    expect(await a.sync.vault.distrust(b.device.slice(0, 8))).toEqual({
      device: b.device,
      changed: true,
      everywhere: true,
    });
    expect(await a.sync.vault.distrust(b.device)).toMatchObject({ changed: false });
    a.todo.put("/after", "2");
    await a.syncAll();

    // It does not know yet: its bucket shows it nothing new.
    const hidden = new Set((await filesIn(uri)).keys());
    b.todo.put("/from-b", "3");
    await expect(b.push()).rejects.toMatchObject({ code: "denied", message: /taken out/ });
    // One whose program does not look.
    const other = await letIn(a, uri, "other");
    expect(
      [...(await filesIn(uri)).keys()].filter((path) => path.includes(b.device)).every((path) => hidden.has(path)),
    ).toBe(true);
    await other.syncAll();
    expect(Object.keys(other.todo.contents())).toEqual(["/after", "/before"]);
    await c.syncAll();
    expect(c.todo.contents()).toEqual({ "/before": "1", "/after": "2" });
    expect((await c.sync.vault.devices()).items.find(({ device }) => device === b.device)).toMatchObject({
      trusted: false,
      until: expect.any(String),
    });
    await expect(c.sync.vault.add((await b.sync.vault.request()).request)).rejects.toMatchObject({ code: "denied" });
  });

  test("after a rotation the old recovery key joins nobody, the new one does, and old packs are read", async () => {
    const { a, uri, recovery } = await founded();
    const b = await letIn(a, uri);
    a.todo.put("/old", "1");
    await a.syncAll();
    const rotated = await b.sync.vault.rotate();
    await b.sync.pull();
    b.todo.put("/new", "2");
    await b.syncAll();
    await a.syncAll();
    expect(a.todo.contents()).toEqual({ "/old": "1", "/new": "2" });
    const c = await Machine.start();
    await expect(c.sync.init(uri, { key: recovery })).rejects.toMatchObject({ code: "denied", message: /recovery/ });
    await c.sync.init(uri, { key: rotated.recovery });
    await c.syncAll();
    expect(c.todo.contents()).toEqual({ "/old": "1", "/new": "2" });
    await expect(a.sync.vault.rotate(recovery)).rejects.toMatchObject({ code: "denied" });
    await a.sync.vault.rotate(rotated.recovery);
    expect(await parseRecovery(rotated.recovery)).toMatchObject({ recipient: expect.stringMatching(/^age1/) });
  });

  test("two that change members at the same time end with a key that all have, and no removed one", async () => {
    const { a, uri } = await founded();
    const machines = [a];
    for (const name of ["b", "c", "d"]) machines.push(await letIn(a, uri, name));
    const [, b, c, d] = machines as [Machine, Machine, Machine, Machine];
    for (const machine of machines) await machine.sync.pull();
    // b's view of the bucket stands still while it changes its members, too.
    const e = await Machine.start();
    const { request } = await e.sync.vault.request("e");
    await Promise.all([a.sync.vault.distrust(c.device), b.sync.vault.distrust(d.device), b.sync.vault.add(request)]);
    a.todo.put("/k", "v");
    await a.syncAll();
    await b.syncAll();
    await e.sync.init(uri, { vault: (await a.sync.vault.devices()).hash as string });
    await e.syncAll();
    expect(e.todo.contents()).toEqual({ "/k": "v" });
    for (const machine of [c, d]) await expect(machine.sync.pull()).rejects.toMatchObject({ message: /taken out/ });
  });

  test("distrust in a plain vault refuses the device's heads here, for good", async () => {
    const [a, b, uri] = [await Machine.start(), await Machine.start(), await tempBucket()];
    for (const machine of [a, b]) await machine.sync.init(uri);
    await a.add();
    a.todo.put("/k", "1");
    await a.syncAll();
    await b.syncAll();
    expect(await b.sync.vault.devices()).toMatchObject({
      encrypted: false,
      items: [{ self: true }, { device: a.device }],
    });
    expect(await b.sync.vault.distrust(a.device)).toEqual({ device: a.device, changed: true, everywhere: false });
    a.todo.put("/k", "2");
    await a.syncAll();
    for (let i = 0; i < 2; i++) {
      expect((await b.pull()).notes.join()).toMatch(/not trusted any more/);
      expect(b.todo.contents()).toEqual({ "/k": "1" });
      await b.restart();
    }
    await expect(b.sync.vault.distrust(b.device)).rejects.toMatchObject({ code: "conflict" });
    await expect(b.sync.vault.distrust("ffff")).rejects.toMatchObject({ code: "not_found" });
    const { request } = await a.sync.vault.request();
    for (const work of [() => b.sync.vault.rotate(), () => b.sync.vault.add(request)]) {
      await expect(work()).rejects.toMatchObject({ code: "invalid" });
    }
  });
});
