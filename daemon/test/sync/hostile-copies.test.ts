import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { canonicalJson, type DeviceId, type FetchedCopy, type Hash, type Json, sha256 } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import type { Bucket } from "../../src/sync/buckets/bucket.ts";
import { openFileBucket } from "../../src/sync/buckets/file.ts";
import { fetchCopy, type FetchGround, findCopies } from "../../src/sync/databases/copy-fetch.ts";
import { copyFolder, copyName } from "../../src/sync/databases/names.ts";
import { type Device, deviceFromSeed } from "../../src/sync/vault/device.ts";
import { newIdentity, recipientOf } from "../../src/sync/vault/keys.ts";
import { type Sealer, sealerOf } from "../../src/sync/vault/sealer.ts";
import type { VaultId } from "../../src/sync/vault/vault.ts";
import { newDevice, tempFolder, TODO } from "./machine.ts";
import { wrapped } from "./wrapped-bucket.ts";

const VAULT = "ab".repeat(16) as VaultId;
const DOMAIN = "vlinder database copy 1\n";
const identity = await newIdentity();
const recipient = await recipientOf(identity);

type Body = Record<string, Json>;

interface Place {
  readonly root: string;
  readonly bucket: Bucket;
  readonly device: Device;
  /** Another machine, whose copy is older, and good. */
  readonly older: Device;
  readonly sealer: Sealer | null;
  readonly ground: FetchGround;
}

const CONTENT = randomBytes(150_000);

async function placeOf(isEncrypted: boolean): Promise<Place> {
  const root = join(await tempFolder(), "vault");
  const bucket = await openFileBucket("file:///vault", root, { create: true });
  const [device, older] = [0, 1].map(() => deviceFromSeed(newDevice(), randomBytes(32))) as [Device, Device];
  const sealer = isEncrypted ? sealerOf(recipient, [identity]) : null;
  const trusted = new Map([device, older].map(({ id, key }) => [id, key]));
  const ground: FetchGround = {
    bucket,
    vault: VAULT,
    sealer,
    trust: { knows: (id, key) => trusted.get(id) === key },
    retries: [],
    signal: new AbortController().signal,
    progress: () => undefined,
  };
  const place = { root, bucket, device, older, sealer, ground };
  await putCopy(place, { device: older, time: "2026-11-25T00:00:00.000Z" });
  return place;
}

interface Made {
  readonly device?: Device;
  readonly time?: string;
  /** Changes what is signed. */
  readonly change?: (body: Body) => Body;
  readonly signer?: Device;
  /** Changes the manifest's bytes after that. */
  readonly bytes?: (bytes: Buffer) => Buffer;
  /** What the manifest's name says of its bytes; default: the truth. */
  readonly name?: (name: string) => string;
  /** Default: as the vault. */
  readonly sealer?: Sealer | null;
}

/** Puts a copy into the bucket as a machine would, or would not; the path of its database. */
async function putCopy(place: Place, made: Made = {}): Promise<{ file: string; manifest: string }> {
  const { bucket } = place;
  const { device = place.device, time = "2026-11-26T00:00:00.000Z", sealer = place.sealer } = made;
  const folder = copyFolder(TODO, device.id);
  const content = sealer === null ? CONTENT : await sealer.seal(CONTENT);
  const hash = sha256(content);
  const name = copyName("objects", new Date(time), hash, sealer !== null);
  await bucket.put([{ path: folder + name, bytes: content }]);
  const plain: Body = {
    about: "for people",
    agent: TODO,
    branches: [{ head: "cd".repeat(32), id: "ef".repeat(32), name: "main" }],
    device: device.id,
    files: [{ bytes: content.length, database: "objects", name, sha256: hash }],
    key: (made.signer ?? device).key,
    time,
    v: 1,
    vault: VAULT,
  };
  const body = made.change?.(plain) ?? plain;
  const signature = (made.signer ?? device).sign(DOMAIN + canonicalJson(body));
  const signed = Buffer.from(canonicalJson({ ...body, signature }));
  const whole = made.bytes?.(signed) ?? signed;
  const bytes = sealer === null ? whole : await sealer.seal(whole);
  const truth = copyName("copy", new Date(time), sha256(bytes), sealer !== null);
  const path = folder + (made.name?.(truth) ?? truth);
  await bucket.put([{ path, bytes }]);
  return { file: folder + name, manifest: path };
}

async function fetched(ground: FetchGround, folder?: string): Promise<FetchedCopy> {
  const into = folder ?? (await tempFolder());
  const found = await findCopies(ground, TODO);
  const copy = await fetchCopy(ground, TODO, found.get(TODO) ?? [], into);
  // Whole or not at all.
  const left = (await readdir(into)).filter((name) => name.includes("unfinished"));
  expect(left).toEqual([]);
  if (copy.error === null) expect((await readFile(join(into, "todo", "objects.db"))).equals(CONTENT)).toBe(true);
  return copy;
}

const file = (body: Body): Body => (body["files"] as Body[])[0] as Body;
const withFile =
  (change: (one: Body) => Body) =>
  (body: Body): Body => ({ ...body, files: [change(file(body))] });
const stranger = deviceFromSeed(newDevice(), randomBytes(32));
const hash = "ab".repeat(32) as Hash;

const MANIFESTS: Readonly<Record<string, Made & { readonly why: string }>> = {
  "by somebody else, in a trusted machine's folder": { why: "not trusted", signer: stranger },
  "by a machine that nobody knows": { why: "not trusted", device: stranger },
  "with another signature": {
    why: "signature is wrong",
    bytes: (bytes) =>
      Buffer.from(String(bytes).replace(/"signature":"(.)/, (_, first) => `"signature":"${first === "0" ? 1 : 0}`)),
  },
  "changed after it was signed": {
    why: "signature is wrong",
    bytes: (bytes) => Buffer.from(String(bytes).replace("for people", "for peoplX")),
  },
  "with another hash in its name": {
    why: "not what its name says",
    name: (name) => name.replace(/[0-9a-f]{16}/, "0".repeat(16)),
  },
  "with another time in its name": { why: "time is not", name: (name) => name.replace("20261126", "20261127") },
  "that is no JSON": { why: "canonical JSON", bytes: () => Buffer.from("not at all") },
  "that is no object": { why: "its file is no object", bytes: () => Buffer.from("[1]") },
  "that is not canonical": { why: "canonical JSON", bytes: (bytes) => Buffer.from(`${String(bytes)} `) },
  "of another version": { why: "version is 2", change: (body) => ({ ...body, v: 2 }) },
  "of another vault": {
    why: "another agent, device or vault",
    change: (body) => ({ ...body, vault: "00".repeat(16) }),
  },
  "of another agent": { why: "another agent, device or vault", change: (body) => ({ ...body, agent: "other" }) },
  "of another device": {
    why: "another agent, device or vault",
    change: (body) => ({ ...body, device: newDevice() as DeviceId }),
  },
  "with a field more": { why: "other fields", change: (body) => ({ ...body, aaa: 1 }) },
  "with a time that is none": { why: "time is not", change: (body) => ({ ...body, time: "2026-11-26" }) },
  "with no files": { why: "a list in it", change: (body) => ({ ...body, files: [] }) },
  "with a file twice": { why: "twice", change: (body) => ({ ...body, files: [file(body), file(body)] }) },
  "with three files": {
    why: "a list in it",
    change: (body) => ({ ...body, files: [file(body), file(body), file(body)] }),
  },
  "with files that are no list": { why: "a list in it", change: (body) => ({ ...body, files: { length: 1 } }) },
  "with a file outside its folder": {
    why: "name of a file is not",
    change: withFile((one) => ({ ...one, name: "../../../../vault.json" })),
  },
  "with a database that is none": {
    why: "no database",
    change: withFile((one) => ({ ...one, database: "../../evil" })),
  },
  "with another hash of a file": {
    why: "name of a file is not",
    change: withFile((one) => ({ ...one, sha256: hash })),
  },
  "with a file of a negative size": {
    why: "size of a file is none",
    change: withFile((one) => ({ ...one, bytes: -1 })),
  },
  "with a file of no size": { why: "size of a file is none", change: withFile((one) => ({ ...one, bytes: 0 })) },
  "with a file of half a byte": { why: "size of a file is none", change: withFile((one) => ({ ...one, bytes: 1.5 })) },
  "with a file of another size": { why: "manifest says 5", change: withFile((one) => ({ ...one, bytes: 5 })) },
  "with a file that is not there": {
    why: "is not there",
    change: withFile((one) => ({
      ...one,
      sha256: hash,
      name: (one["name"] as string).replace(/[0-9a-f]{16}/, hash.slice(0, 16)),
    })),
  },
  "with a branch that is none": {
    why: "no head or id",
    change: (body) => ({ ...body, branches: [{ head: "x", id: "y", name: "main" }] }),
  },
};

for (const isEncrypted of [false, true]) {
  describe(`from a bucket that is not to be trusted, ${isEncrypted ? "encrypted" : "plain"},`, () => {
    test("a good copy is fetched, the newest one", async () => {
      const place = await placeOf(isEncrypted);
      await putCopy(place);
      expect(await fetched(place.ground)).toMatchObject({ device: place.device.id, notes: [], error: null });
    });

    for (const [what, made] of Object.entries(MANIFESTS)) {
      test(`a manifest ${what} is refused, and the older copy is fetched`, async () => {
        const place = await placeOf(isEncrypted);
        await putCopy(place, made);
        const copy = await fetched(place.ground);
        expect(copy).toMatchObject({ device: place.older.id, error: null });
        expect(copy.notes).toEqual([expect.stringContaining(made.why)]);
      });
    }

    const files: Record<string, (bytes: Buffer) => Buffer> = {
      "of which a byte was changed": (bytes) => {
        const changed = Buffer.from(bytes);
        changed[100_000] = (changed[100_000] ?? 0) ^ 1;
        return changed;
      },
      "of which the first byte was changed": (bytes) => Buffer.concat([Buffer.from([0]), bytes.subarray(1)]),
      "that is shorter": (bytes) => bytes.subarray(0, -1),
      "that is longer": (bytes) => Buffer.concat([bytes, Buffer.alloc(16)]),
      "that is empty": () => Buffer.alloc(0),
    };
    for (const [what, change] of Object.entries(files)) {
      test(`a database ${what} is refused`, async () => {
        const place = await placeOf(isEncrypted);
        const path = join(place.root, (await putCopy(place)).file);
        await writeFile(path, change(await readFile(path)));
        const copy = await fetched(place.ground);
        expect(copy).toMatchObject({
          device: place.older.id,
          error: null,
          notes: [expect.stringMatching(/not taken/)],
        });
      });
    }

    test("a copy that is encrypted where none is, or not where all are, is refused", async () => {
      const place = await placeOf(isEncrypted);
      await putCopy(place, { sealer: isEncrypted ? null : sealerOf(recipient, [identity]) });
      expect(await fetched(place.ground)).toMatchObject({
        device: place.older.id,
        notes: [expect.stringMatching(isEncrypted ? /is not encrypted/ : /it is encrypted/)],
      });
    });

    test("what the bucket sends short, or in another size than it says, is no copy", async () => {
      const place = await placeOf(isEncrypted);
      await putCopy(place);
      const bucket = wrapped(place.bucket, {
        get: async (path, range) => {
          const bytes = await place.bucket.get(path, range);
          return path.includes("/objects-") ? (bytes?.subarray(0, -1) ?? null) : bytes;
        },
      });
      expect(await fetched({ ...place.ground, bucket })).toMatchObject({
        device: null,
        error: { code: "unavailable" },
      });
    });
  });
}

test("a copy encrypted to another key is refused", async () => {
  const place = await placeOf(true);
  const other = await newIdentity();
  await putCopy(place, { sealer: sealerOf(await recipientOf(other), [other]) });
  expect(await fetched(place.ground)).toMatchObject({
    device: place.older.id,
    notes: [expect.stringMatching(/a key that this device does not/)],
  });
});

test("a manifest that is said to be huge is not read", async () => {
  const place = await placeOf(false);
  const { manifest } = await putCopy(place);
  const read: string[] = [];
  const bucket = wrapped(place.bucket, {
    list: async function* (prefix) {
      for await (const { path, size } of place.bucket.list(prefix))
        yield { path, size: path === manifest ? 2 ** 40 : size };
    },
    get: (path, range) => {
      read.push(path);
      return place.bucket.get(path, range);
    },
  });
  expect(await fetched({ ...place.ground, bucket })).toMatchObject({
    device: place.older.id,
    notes: [expect.stringMatching(/bytes/)],
  });
  expect(read).not.toContain(manifest);
});

test("no name in the bucket leads out of the folder, and only paths of copies count", async () => {
  const place = await placeOf(false);
  const name = "copy-20261126T000000000Z-0123456789abcdef.json";
  const device = "0".repeat(32);
  const bucket = wrapped(place.bucket, {
    list: async function* () {
      for (const agent of ["..", ".", "", "a/b", "A B", "x\0y", "good"]) {
        yield { path: `agents/${agent}/databases/${device}/${name}`, size: 1 };
        yield { path: `agents/${agent}/databases/../${name}`, size: 1 };
        yield { path: `agents/${agent}/databases/${device}/${name}.age.age`, size: 1 };
      }
    },
  });
  expect([...(await findCopies({ bucket, retries: [] }, undefined)).keys()]).toEqual(["good"]);
});

test("a bucket with a great many manifests does not stop the machine", async () => {
  const place = await placeOf(false);
  const bucket = wrapped(place.bucket, {
    list: async function* () {
      for (let i = 0; i < 60_000; i++) {
        const hash = i.toString(16).padStart(16, "0");
        yield { path: `agents/todo/databases/${"0".repeat(32)}/copy-20261126T000000000Z-${hash}.json`, size: 1 };
      }
    },
  });
  expect((await findCopies({ bucket, retries: [] }, undefined)).get(TODO)).toHaveLength(60_000);
});

test("nothing that is there is overwritten, and nothing is asked of the bucket for it", async () => {
  const place = await placeOf(false);
  const folder = await tempFolder();
  await mkdir(join(folder, "todo"));
  const bucket = wrapped(place.bucket, { get: () => Promise.reject(new Error("asked")) });
  expect(await fetched({ ...place.ground, bucket }, folder)).toMatchObject({ error: { code: "conflict" } });
  expect(await readdir(join(folder, "todo"))).toEqual([]);
});

test("a folder that can't be written to is told, with what to do", async () => {
  const place = await placeOf(false);
  const found = (await findCopies(place.ground, TODO)).get(TODO) ?? [];
  const file = join(await tempFolder(), "file");
  await writeFile(file, "");
  for (const folder of [file, "/proc/nowhere"]) {
    expect(await fetchCopy(place.ground, TODO, found, folder)).toMatchObject({
      files: [],
      error: { code: "unavailable", retryable: false },
    });
  }
});

test("of an agent without a copy it says so, and so it does when none is good", async () => {
  const place = await placeOf(false);
  expect(await fetchCopy(place.ground, TODO, [], await tempFolder())).toMatchObject({
    error: { code: "not_found", message: expect.stringMatching(/no copy/) as string },
  });
  const ground = { ...place.ground, trust: { knows: () => false } };
  expect(await fetched(ground)).toMatchObject({
    notes: [expect.stringMatching(/pull/)],
    error: { code: "not_found", message: expect.stringMatching(/no good copy/) as string },
  });
});
