import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { zstdCompressSync } from "node:zlib";
import { type AgentName, canonicalJson, type DeviceId, type Hash, sha256 } from "@vlinder/protocol";
import { beforeEach, describe, expect, test } from "vitest";
import { encodeHead, type HeadBody, headPath } from "../../../src/sync/head.ts";
import { openHead, type Sealer, sealHead, sealerOf } from "../../../src/sync/vault/sealer.ts";
import { decodePack, encodePack, PACK_LIMITS } from "../../../src/sync/pack.ts";
import { type AgeRecipient, sealAge } from "../../../src/sync/vault/age-file.ts";
import { type Device, deviceFromSeed, openDevice } from "../../../src/sync/vault/device.ts";
import { EncryptedVault } from "../../../src/sync/vault/encrypted-vault.ts";
import { stateChange } from "../../../src/sync/vault/keyring.ts";
import { deviceAuthority, newIdentity, parseRecovery, recipientOf } from "../../../src/sync/vault/keys.ts";
import { encodeStatement, type Statement, statementPath } from "../../../src/sync/vault/statement.ts";
import { encodeVault, pinnedVault, type Vault } from "../../../src/sync/vault/vault.ts";
import { Machine, tempBucket, TODO } from "../machine.ts";

/** Keeps the bucket, and knows all that is in it and is not sealed: not a member. */
const mallory = deviceFromSeed("ee".repeat(16) as DeviceId, Buffer.alloc(32, 7));

let a: Machine;
let b: Machine;
let uri: string;
let folder: string;
let vault: Vault;

/** Two members; what a wrote last, b has not seen yet. */
beforeEach(async () => {
  uri = await tempBucket();
  folder = fileURLToPath(uri);
  [a, b] = [await Machine.start(), await Machine.start()];
  await a.sync.init(uri, { encrypt: true });
  await a.add();
  a.todo.put("/first", "1");
  await a.syncAll();
  const { hash } = await a.sync.vault.add((await b.sync.vault.request("b")).request);
  await b.sync.init(uri, { vault: hash });
  await b.syncAll();
  a.todo.put("/second", "2");
  await a.push();
  vault = (await pinnedVault(a.home)) as Vault;
});

const write = async (path: string, bytes: string | Uint8Array): Promise<void> => {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), bytes);
};
const namesIn = (path: string): Promise<string[]> => readdir(join(folder, path));
const insider = async (machine: Machine): Promise<{ encrypted: EncryptedVault; device: Device; sealer: Sealer }> => {
  const encrypted = await EncryptedVault.open(machine.home, vault);
  const device = await openDevice(machine.home, machine.device);
  return { encrypted, device, sealer: await encrypted.sealer(await deviceAuthority(device)) };
};
/** What an outsider can do: encrypt to the key that statements name. */
const outsider = async (): Promise<Sealer> => {
  const { encrypted } = await insider(a);
  return sealerOf(encrypted.membership.keys[0]?.recipient as AgeRecipient, []);
};
const headOf = async (machine: Machine): Promise<{ path: string; body: HeadBody; bytes: Buffer }> => {
  const [name = ""] = await namesIn(`agents/todo/heads/${machine.device}`);
  const path = `agents/todo/heads/${machine.device}/${name}`;
  const [n, hash] = name.slice(0, -5).split("-") as [string, Hash];
  const bytes = await readFile(join(folder, path));
  const { sealer } = await insider(machine);
  const known = { agent: TODO, device: machine.device, n: Number(n), hash };
  return { path, bytes, body: (await openHead(bytes, known, vault.id, sealer)).body };
};
const putHead = async (body: HeadBody, device: Device, sealer: Sealer | null): Promise<void> => {
  const { hash, bytes } = await sealHead(encodeHead(body, device), sealer);
  await write(headPath({ agent: body.agent, device: body.device, n: body.n, hash }), bytes);
};
const devices = async (machine: Machine): Promise<string[]> =>
  (await machine.sync.vault.devices()).items.filter(({ trusted }) => trusted).map(({ device }) => device);

async function untouched(work: () => Promise<void>): Promise<void> {
  const before = { branches: b.todo.branches(), contents: b.todo.contents(), devices: await devices(b) };
  await work();
  expect({ branches: b.todo.branches(), contents: b.todo.contents(), devices: await devices(b) }).toEqual(before);
}

/** A pull that takes what a wrote, says what it refused, and lets nobody in. */
async function refuses(what: RegExp): Promise<void> {
  const before = await devices(b);
  const { notes, error } = await b.pull();
  expect(error).toBeNull();
  expect([...notes, ...b.log].join("\n")).toMatch(what);
  expect(await devices(b)).toEqual(before);
  expect(b.todo.contents()).toEqual({ "/first": "1", "/second": "2" });
}

describe("a bucket adds to the members", () => {
  const made = async (by: Device, after: readonly Hash[]): Promise<Statement> => {
    const authority = await deviceAuthority(by);
    const identity = await newIdentity();
    const key = await recipientOf(identity);
    return stateChange(
      vault,
      { members: new Map(), recovery: [], heads: after, keys: [] },
      { keys: new Map([[key, identity]]), names: new Map() },
      authority,
      { add: [{ device: mallory.id, key: mallory.key, recipient: authority.recipient, name: "m" }] },
      new Date(),
    );
  };

  test("a device that no member has signed: refused, and nothing is encrypted to it", async () => {
    const { encrypted } = await insider(a);
    for (const after of [encrypted.membership.heads, []]) {
      const { hash, bytes } = await made(mallory, after);
      await write(statementPath(hash), bytes);
    }
    await refuses(/no member has signed it/);
    await b.push();
    expect((await insider(b)).encrypted.membership.keys.filter(({ usable }) => usable)).toHaveLength(1);
  });

  test("statements that were changed, swapped, of another vault, or no statements: refused", async () => {
    const [one = "", two = ""] = await namesIn("members");
    const text = await readFile(join(folder, "members", one), "utf8");
    const changed = text.replace(/"by":"(.)/, (_, digit) => `"by":"${digit === "0" ? 1 : 0}`);
    await write(`members/${sha256(changed)}.json`, changed);
    await write(`members/${sha256("x")}.json`, await readFile(join(folder, "members", two)));
    await write(`members/${sha256("{}")}.json`, "{}");
    await write(`members/${sha256("big")}.json`, Buffer.alloc(2 << 20, 97));
    await write("members/README.txt", "hello");
    const elsewhere = await tempBucket();
    await (await Machine.start()).sync.init(elsewhere, { encrypt: true });
    for (const name of await readdir(join(fileURLToPath(elsewhere), "members"))) {
      await write(`members/${name}`, await readFile(join(fileURLToPath(elsewhere), "members", name)));
    }
    await refuses(/another vault/);
    expect(b.log.filter((line) => line.startsWith("refused members/"))).toHaveLength(5);
    // Said once, not with each pull.
    b.log.length = 0;
    await b.pull();
    expect(b.log.join()).not.toContain("members/");
  });

  test("a whole vault of its own in the place of ours: refused by who is in, and by who joins with key or hash", async () => {
    const other = await Machine.start();
    const otherUri = await tempBucket();
    const { recovery } = await other.sync.init(otherUri, { encrypt: true });
    const c = await Machine.start();
    const { request } = await c.sync.vault.request("c");
    const { hash } = await a.sync.vault.add(request);
    await other.sync.vault.add(request);
    for (const path of ["vault.json", "members"]) await rm(join(folder, path), { recursive: true });
    for (const name of [
      "vault.json",
      ...(await readdir(join(fileURLToPath(otherUri), "members"))).map((x) => `members/${x}`),
    ]) {
      await write(name, await readFile(join(fileURLToPath(otherUri), name)));
    }
    await untouched(async () => {
      await expect(b.sync.pull()).rejects.toMatchObject({ code: "denied", message: /another vault/ });
      await expect(b.sync.push()).rejects.toMatchObject({ code: "denied" });
    });
    await expect(c.sync.init(uri, { vault: hash })).rejects.toMatchObject({ code: "denied", message: /another vault/ });
    await expect(c.sync.init(uri)).rejects.toMatchObject({ code: "denied" });
    expect(recovery).not.toBeNull();
  });

  test("a vault.json with our recovery key and its own recipient: refused by who joins with the key", async () => {
    const rotated = await newIdentity();
    const { key } = await parseRecovery(rotated);
    const recipient = await recipientOf(await newIdentity());
    await rm(join(folder, "members"), { recursive: true });
    await write("vault.json", encodeVault(vault.id, vault.created, { key, recipient }));
    const c = await Machine.start();
    await expect(c.sync.init(uri, { key: rotated })).rejects.toMatchObject({
      code: "denied",
      message: /another vault/,
    });
    await expect(namesIn("members")).rejects.toThrow();
  });

  test("a vault in which the recovery key was made to seem its own: refused by who joins with it", async () => {
    // The true vault's recovery key is replaced, so that a joiner must believe a chain of statements.
    const rotated = await a.sync.vault.rotate();
    const { encrypted } = await insider(a);
    const [{ key, recipient } = { key: mallory.key, recipient: "" as AgeRecipient }] = encrypted.membership.recovery;
    const evil = await Machine.start();
    const evilUri = await tempBucket();
    await evil.sync.init(evilUri, { encrypt: true });
    const evilVault = (await pinnedVault(evil.home)) as Vault;
    const known = await EncryptedVault.open(evil.home, evilVault);
    const by = await deviceAuthority(await openDevice(evil.home, evil.device));
    const { body } = known.membership.accepted[0] as Statement;
    const forged = encodeStatement(
      { ...body, add: [], after: known.membership.heads, by: by.key, recovery: { key, recipient }, remove: [] },
      by,
      { ...by, sign: (text) => by.sign(text) },
    );
    await writeFile(join(fileURLToPath(evilUri), statementPath(forged.hash)), forged.bytes);
    const c = await Machine.start();
    await expect(c.sync.init(evilUri, { key: rotated.recovery })).rejects.toMatchObject({ code: "denied" });
    expect(c.log.join()).toMatch(/recovery key that it names has not signed/);
    await c.sync.init(uri, { key: rotated.recovery });
  });
});

describe("a bucket that hides", () => {
  test("a removal that was seen: it counts for ever, and is put back", async () => {
    const before = await namesIn("members");
    await a.sync.vault.distrust(b.device);
    const c = await Machine.start();
    const { hash } = await a.sync.vault.add((await c.sync.vault.request("c")).request);
    await c.sync.init(uri, { vault: hash });
    await c.syncAll();
    for (const name of await namesIn("members")) if (!before.includes(name)) await rm(join(folder, "members", name));
    // Now b may write again, for all that the bucket says.
    b.todo.put("/late", "3");
    await b.push();
    for (const machine of [a, c]) {
      await machine.restart();
      expect((await machine.pull()).notes.join()).toMatch(/was taken out of the vault/);
      expect(machine.todo.contents()).not.toHaveProperty("/late");
    }
    await a.push();
    expect((await namesIn("members")).length).toBe(before.length + 2);
    await expect(b.sync.push()).rejects.toMatchObject({ code: "denied", message: /taken out/ });
  });

  test("all statements: members go on, and put them back", async () => {
    const before = (await namesIn("members")).toSorted();
    await rm(join(folder, "members"), { recursive: true });
    await b.syncAll();
    expect(b.todo.contents()).toEqual({ "/first": "1", "/second": "2" });
    expect((await namesIn("members")).toSorted()).toEqual(before);
  });
});

describe("a head", () => {
  test("of one who is no member, encrypted as all are: refused", async () => {
    const { body } = await headOf(a);
    const forged = { ...body, device: mallory.id, key: mallory.key, n: 1, predecessors: [] };
    await putHead(forged, mallory, await outsider());
    await refuses(/device e+ is no member of the vault/);
  });

  test("signed by one who is no member for a device that is one: refused", async () => {
    const { body } = await headOf(a);
    await putHead({ ...body, key: mallory.key, n: 99 }, mallory, await outsider());
    await refuses(/no member of the vault/);
  });

  test("of a removed member that goes on writing, with the old key or a new one: refused", async () => {
    const { body } = await headOf(a);
    const { device, sealer } = await insider(b);
    const c = await Machine.start();
    const { hash } = await a.sync.vault.add((await c.sync.vault.request("c")).request);
    await c.sync.init(uri, { vault: hash });
    await a.sync.vault.distrust(b.device);
    const branches = body.branches.map((branch) => ({ ...branch, sealed: true }));
    const evil = { ...body, device: device.id, key: device.key, n: 99, predecessors: [], branches };
    await putHead(evil, device, sealer);
    await putHead({ ...evil, n: 100 }, device, await outsider());
    await c.sync.pull();
    expect(c.log.filter((line) => /refused a head.*was taken out of the vault/.test(line)).length).toBeGreaterThan(1);
    expect(c.todo.branches().every(({ sealed }) => !sealed)).toBe(true);
    expect(c.todo.contents()).toEqual({ "/first": "1", "/second": "2" });
    // And it can't read what was written since.
    a.todo.put("/third", "3");
    await a.push();
    const packs = (await headOf(a)).body.packs;
    const stored = await readFile(join(folder, `agents/todo/packs/${packs.at(-1)}.pack`));
    await expect(decodePack(stored, sealer)).rejects.toMatchObject({ code: "denied" });
    expect((await decodePack(stored, (await insider(a)).sealer)).length).toBeGreaterThan(0);
  });

  test("that is not encrypted, though a member has signed it: refused", async () => {
    const { body } = await headOf(a);
    const { device } = await insider(a);
    await putHead({ ...body, n: body.n + 1 }, device, null);
    await refuses(/not encrypted, in a vault where all are/);
  });

  test("of another agent, number or vault, taken out of its age file and put into another: refused", async () => {
    const { body, bytes } = await headOf(a);
    await write(headPath({ agent: TODO, device: a.device, n: 77, hash: sha256(bytes) }), bytes);
    await write(headPath({ agent: "other" as AgentName, device: a.device, n: body.n, hash: sha256(bytes) }), bytes);
    await refuses(/its number is/);
    await b.sync.pull();
    expect(b.log.join()).toMatch(/it is a head of agent todo/);
    expect([...b.agents.keys()]).toEqual(["todo"]);
  });

  test("encrypted to another vault's key, cut off, or no age file: refused", async () => {
    const { body } = await headOf(a);
    const { device } = await insider(a);
    const foreign = sealerOf(await recipientOf(await newIdentity()), []);
    await putHead({ ...body, n: body.n + 1 }, device, foreign);
    const age = await (await insider(a)).sealer.seal(Buffer.from("{}"));
    const [used] = (await insider(a)).encrypted.membership.keys;
    // Each recipient costs who opens it a multiplication on the curve.
    const many = await sealAge([used?.recipient as AgeRecipient, vault.founder?.recipient as AgeRecipient], age);
    for (const [i, sealed] of [age.subarray(0, -1), age.subarray(0, 100), Buffer.from("x"), age, many].entries()) {
      const file = Buffer.from(canonicalJson({ encryption: "age", sealed: sealed.toString("base64"), v: 1 }));
      await write(headPath({ agent: TODO, device: a.device, n: 50 + i, hash: sha256(file) }), file);
    }
    await refuses(/a key that this device does not have/);
    expect(b.log.filter((line) => line.includes("refused a head"))).toHaveLength(6);
    expect(b.log.join()).toMatch(/2 recipients where 1 are allowed/);
  });
});

describe("a pack", () => {
  /** A head of a, which is a member, that names these stored bytes. */
  const offered = async (bytes: Buffer): Promise<void> => {
    const { body } = await headOf(a);
    const { device, sealer } = await insider(a);
    const name = sha256(bytes);
    await write(`agents/todo/packs/${name}.pack`, bytes);
    await putHead({ ...body, n: body.n + 1, packs: [...body.packs, name] }, device, sealer);
  };
  const header = (compression: number, length: number, encryption = 1): Buffer => {
    const bytes = Buffer.alloc(16);
    bytes.write("VLPACK", "latin1");
    bytes.set([1, compression, encryption], 6);
    bytes.writeUInt32LE(length, 12);
    return bytes;
  };
  const value = { kind: "value", hash: sha256("v"), bytes: Buffer.from("v") } as const;

  test("that is changed or cut off in its age file, of another vault, or not encrypted is an error, and nothing changes", async () => {
    const { sealer } = await insider(a);
    const good = (await encodePack([value], true, sealer)).bytes;
    const changed = Buffer.from(good);
    changed[good.length - 3] = (changed[good.length - 3] as number) ^ 1;
    const other = sealerOf(await recipientOf(await newIdentity()), []);
    for (const [bytes, what] of [
      [changed, /changed or cut off/],
      [good.subarray(0, -5), /cut off/],
      [good.subarray(0, 60), /cut off/],
      [(await encodePack([value], true, other)).bytes, /a key that this device does not have/],
      [(await encodePack([value])).bytes, /not encrypted, and its vault is/],
    ] as const) {
      const code = expect.stringMatching(/invalid|denied/);
      await expect(decodePack(bytes, sealer)).rejects.toMatchObject({ code, message: what });
    }
    await offered(changed);
    // The head of a that came before it is not shown any more, as it was replaced.
    const { error } = await b.pull();
    expect(error).toMatchObject({ code: "invalid", message: /pack .* of todo: an age file was changed/ });
    expect(b.todo.contents()).toEqual({ "/first": "1", "/second": "2" });
  });

  test("with a zip bomb inside its encryption is bounded by its header, and the header by the limit", async () => {
    const { sealer } = await insider(a);
    const bomb = zstdCompressSync(Buffer.alloc(16 << 20));
    expect(bomb.length).toBeLessThan(5000);
    const bytes = Buffer.concat([header(1, 1000), await sealer.seal(bomb)]);
    await expect(decodePack(bytes, sealer)).rejects.toMatchObject({ code: "invalid", message: /decompressed/ });
    const over = Buffer.concat([header(1, PACK_LIMITS.raw + 1), await sealer.seal(bomb)]);
    await expect(decodePack(over, sealer)).rejects.toMatchObject({ message: /payload can't have/ });
    const long = Buffer.concat([header(0, PACK_LIMITS.raw), Buffer.alloc(PACK_LIMITS.sealed)]);
    await expect(decodePack(long, sealer)).rejects.toMatchObject({ message: /over the limit/ });
  });
});
