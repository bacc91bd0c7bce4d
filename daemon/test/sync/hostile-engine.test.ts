import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { zstdCompressSync } from "node:zlib";
import {
  type AgentName,
  canonicalJson,
  type Commit,
  type DeviceId,
  encodeChunkList,
  type Hash,
  type Json,
  MAIN,
  sha256,
} from "@vlinder/protocol";
import { beforeEach, describe, expect, test } from "vitest";
import type { Kind, StoredObject } from "../../src/storage/object-storage.ts";
import { encodeHead, type HeadBody, headPath } from "../../src/sync/head.ts";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { listAgent } from "../../src/sync/listing.ts";
import { encodePack } from "../../src/sync/pack.ts";
import { encodeMark, type Mark, markPath } from "../../src/sync/packs/mark.ts";
import { type Device, deviceFromSeed, openDevice } from "../../src/sync/vault/device.ts";
import { EncryptedVault } from "../../src/sync/vault/encrypted-vault.ts";
import { deviceAuthority } from "../../src/sync/vault/keys.ts";
import { openHead, type Sealer, sealFile, sealHead } from "../../src/sync/vault/sealer.ts";
import { pinnedVault, type Vault } from "../../src/sync/vault/vault.ts";
import { put } from "../state/harness.ts";
import { type Box, EngineFleet, meet, same, verified } from "./engine-fleet.ts";
import { TODO } from "./machine.ts";
import { noise } from "./noise.ts";
import { IS_LONG } from "../../../test/harness/long.ts";

// A bucket that lies to a machine with the real engine: what it offers is refused with the reason, and of what is stored here not an
// object, branch or tombstone is another one afterwards.

const mallory = deviceFromSeed("ee".repeat(16) as DeviceId, Buffer.alloc(32, 7));

for (const encrypt of IS_LONG ? [false, true] : [false]) {
  describe(`in ${encrypt ? "an encrypted" : "a plain"} vault`, () => {
    let fleet: EngineFleet;
    let a: Box;
    let b: Box;
    let folder: string;
    let vault: Vault;
    let device: Device;
    let sealer: Sealer | null;

    beforeEach(async () => {
      const started = await EngineFleet.start(2, { encrypt });
      ({ fleet } = started);
      [a, b] = started.boxes as [Box, Box];
      folder = fileURLToPath(fleet.uri);
      await put(a.todo, { "/first": "1", "/large": noise(1, 150_000) });
      await meet(a, b);
      vault = (await pinnedVault(a.home)) as Vault;
      device = await openDevice(a.home, a.device);
      sealer = encrypt ? await (await EncryptedVault.open(a.home, vault)).sealer(await deviceAuthority(device)) : null;
    });

    const write = async (path: string, bytes: string | Uint8Array): Promise<void> => {
      await mkdir(join(folder, path, ".."), { recursive: true });
      await writeFile(join(folder, path), bytes);
    };
    const bodyOf = async (box: Box): Promise<HeadBody> => {
      const bucket = await openBucket(fleet.uri);
      const name = (await listAgent(bucket, TODO)).heads.findLast((head) => head.device === box.device);
      if (name === undefined) throw new Error("no head");
      return (await openHead((await bucket.get(headPath(name))) as Buffer, name, vault.id, sealer)).body;
    };
    const putHead = async (body: HeadBody, by: Device = device): Promise<void> => {
      const { hash, bytes } = await sealHead(encodeHead(body, by), sealer);
      await write(headPath({ agent: body.agent, device: body.device, n: body.n, hash }), bytes);
    };
    const putPack = async (objects: readonly StoredObject[]): Promise<Hash> => {
      const { name, bytes } = await encodePack(objects, true, sealer);
      await write(`agents/todo/packs/${name}.pack`, bytes);
      return name;
    };
    const object = (kind: Kind, bytes: Uint8Array, hash: Hash = sha256(bytes)): StoredObject => ({ kind, hash, bytes });
    /** A commit on a's head, with what is wrong about it. */
    const commit = async (wrong: Partial<Commit>): Promise<StoredObject> => {
      const head = await a.todo.resolve(MAIN);
      const { snapshot, branch, time } = await a.todo.commit(head);
      const good = { v: 1, agent: TODO, parents: [head], snapshot, event: { kind: "kv.put" } } as unknown as Commit;
      const made = {
        ...good,
        ...(branch === undefined ? {} : { branch }),
        ...(time === undefined ? {} : { time }),
        ...wrong,
      };
      return object("commit", Buffer.from(canonicalJson(made as unknown as Json)));
    };
    /** What a member's device offers that has a fault, or was taken over. */
    const offer = async (objects: readonly StoredObject[]): Promise<void> => {
      const body = await bodyOf(a);
      const head = objects.findLast(({ kind }) => kind === "commit")?.hash ?? null;
      const branches = body.branches.map((branch) => ({ ...branch, head: head ?? branch.head }));
      await putHead({ ...body, n: body.n + 1, branches, packs: [...body.packs, await putPack(objects)] });
    };
    /** Pulls, expects that it is said, and that all is as it was; then that the machine goes on, and so do others. */
    const refused = async (what: RegExp): Promise<void> => {
      const before = await fleet.dump(b);
      for (let i = 0; i < 2; i++) {
        const { error, notes, branches } = await b.pull();
        expect([error?.message ?? "", ...notes].join("\n")).toMatch(what);
        for (const { result } of branches) expect(result).toBe("unchanged");
      }
      expect(await fleet.dump(b)).toEqual(before);
      await put(b.todo, { "/goes-on": "1" });
      expect((await b.push()).error).toBeNull();
      await verified(b);
    };

    describe("a pack of a member's device", () => {
      const kv = (entries: unknown): Partial<Commit> => ({ changes: { kv: entries } }) as Partial<Commit>;
      const absent = sha256("a value that nobody sent");
      const cases: Record<string, [RegExp, () => Promise<StoredObject[]>]> = {
        "with a commit that lies about its snapshot": [
          /snapshot/,
          async () => [await commit({ snapshot: sha256("lie") })],
        ],
        "with a commit of another agent": [
          /another agent|agent/,
          async () => [await commit({ agent: "other" as AgentName })],
        ],
        "with a commit whose parent nobody has": [/parent/, async () => [await commit({ parents: [sha256("none")] })]],
        "with a commit that is older than its parent": [
          /older/,
          async () => [await commit({ time: "2001-01-01T00:00:00.000Z" })],
        ],
        "with a commit whose value is missing": [/refused/, async () => [await commit(kv([["/x", absent, 3]]))]],
        "with a commit that lies about a value's size": [
          /refused/,
          async () => [await commit(kv([["/x", sha256("1"), 2]]))],
        ],
        "with changes out of order": [
          /./,
          async () => {
            const one = object("value", Buffer.from("1"));
            return [
              one,
              await commit(
                kv([
                  ["/b", one.hash, 1],
                  ["/a", one.hash, 1],
                ]),
              ),
            ];
          },
        ],
        "with a commit in another spelling": [
          /canonical|refused/,
          async () => [object("commit", Buffer.from(` ${Buffer.from((await commit({})).bytes).toString()}`))],
        ],
        "with a list whose parts are another value": [
          /refused/,
          async () => {
            const parts = [noise(7, 40_000), noise(8, 40_000)].map((bytes) => object("chunk", bytes));
            const list = encodeChunkList({
              level: 1,
              parts: parts.map(({ hash, bytes }) => ({ hash, size: bytes.length })),
            });
            return [...parts, object("list", list, sha256("what it is not"))];
          },
        ],
        "with a tree node that is none": [
          /not a tree node/,
          async () => {
            const nodes: StoredObject[] = [];
            for await (const one of a.todo.treeObjects(await a.todo.resolve(MAIN)))
              if (one.kind === "node") nodes.push(one);
            const bytes = Buffer.from((nodes[0] as StoredObject).bytes);
            return [object("node", Buffer.concat([bytes, Buffer.from([0])]))];
          },
        ],
      };
      for (const [what, [reason, objects]] of Object.entries(cases)) {
        test(what, async () => {
          await offer(await objects());
          await refused(reason);
        });
      }

      test("with a zip bomb's ratio", async () => {
        const bomb = zstdCompressSync(Buffer.alloc(48 << 20));
        const header = Buffer.alloc(16);
        header.write("VLPACK", "latin1");
        header.set([1, 1, encrypt ? 1 : 0], 6);
        header.writeUInt32LE(1000, 12);
        const bytes = Buffer.concat([header, sealer === null ? bomb : await sealer.seal(bomb)]);
        const name = sha256(bytes);
        await write(`agents/todo/packs/${name}.pack`, bytes);
        const body = await bodyOf(a);
        await putHead({ ...body, n: body.n + 1, packs: [...body.packs, name] });
        await refused(/decompressed/);
      });
    });

    describe("a head of a member's device", () => {
      const tricks: Record<string, (body: HeadBody) => HeadBody> = {
        "that names commits which do not exist": (body) => ({
          ...body,
          branches: body.branches.map((branch) => ({ ...branch, head: sha256("none") })),
        }),
        "with a branch whose name is a path": (body) => ({
          ...body,
          branches: body.branches.map((branch) => ({ ...branch, name: "../../../etc/passwd" })),
        }),
        "with one branch twice": (body) => ({ ...body, branches: [...body.branches, ...body.branches] }),
        "of an agent whose name is a path": (body) => ({ ...body, agent: "../../x" as AgentName }),
        "with a negative number of itself": (body) => ({ ...body, n: -1 }),
      };
      for (const [what, change] of Object.entries(tricks)) {
        test(what, async () => {
          const body = await bodyOf(a);
          const changed = change({ ...body, n: body.n + 1 });
          const { hash, bytes } = await sealHead(encodeHead(changed, device), sealer);
          await write(headPath({ agent: TODO, device: a.device, n: body.n + 1, hash }), bytes);
          await refused(/refused a head/);
        });
      }
    });

    test("heads that another key signed for a known device, for this one, or for a new one that nobody let in", async () => {
      const body = await bodyOf(a);
      const branches = body.branches.map((branch) => ({ ...branch, sealed: true }));
      for (const [i, id] of [a.device, b.device, ...(encrypt ? [mallory.id] : [])].entries()) {
        await putHead(
          { ...body, branches, device: id, key: mallory.key, n: body.n + 5 + i, predecessors: [] },
          mallory,
        );
      }
      const before = b.device;
      await refused(/refused a head/);
      expect(b.device).toBe(before);
    });

    test("marks that nobody known has signed, of another agent, vault or pack: nothing counts as replaced, and nothing is deleted", async () => {
      await put(a.todo, { "/second": "2" });
      await a.push();
      const bucket = await openBucket(fleet.uri);
      const listing = await listAgent(bucket, TODO);
      const names = [...listing.packs.keys()];
      const good: Mark = {
        after: [],
        agent: TODO,
        by: [],
        device: device.id,
        key: device.key,
        left: [],
        packs: names,
        time: "2020-01-01T00:00:00.000Z",
        vault: vault.id,
      };
      const forgeries: readonly (readonly [Mark, Device])[] = [
        [{ ...good, device: mallory.id, key: mallory.key }, mallory],
        [{ ...good, key: mallory.key }, mallory],
        [good, mallory],
        [{ ...good, agent: "other" as AgentName }, device],
        [{ ...good, vault: "00".repeat(16) as Mark["vault"] }, device],
        [{ ...good, packs: [sha256("another")] }, device],
      ];
      for (const [mark, by] of forgeries) {
        for (const name of names) await write(markPath(TODO, name), await sealFile(encodeMark(mark, by), sealer));
        const before = await fleet.dump(b);
        const { notes, error } = await b.pull();
        expect([error?.message ?? "", ...notes].join("\n")).toMatch(/a mark is not believed|refused a mark/);
        if (mark !== forgeries[0]?.[0]) expect(await fleet.dump(b)).toEqual(before);
        fleet.clock.tick(40 * 24 * 3_600_000);
        for (const box of [a, b]) expect((await box.push()).error).toBeNull();
        for (const name of names) expect((await listAgent(bucket, TODO)).packs.has(name)).toBe(true);
      }
      for (const name of names) await bucket.delete([markPath(TODO, name)]);
      await meet(a, b);
      await same(a, b, await fleet.clone());
    });

    test("a listing of hundreds of files that are none of ours, and names that are paths: used, bounded in what is said", async () => {
      for (let i = 0; i < 300; i++) await writeFile(join(folder, "agents", "todo", `junk-${i}`), "");
      await mkdir(join(folder, "agents", "NOT an agent"), { recursive: true });
      await writeFile(join(folder, "agents", "NOT an agent", "\u001b[2J"), "");
      await put(a.todo, { "/second": "2" });
      await a.push();
      const { notes, error } = await b.pull();
      expect(error).toBeNull();
      expect(notes.join().length).toBeLessThan(2000);
      expect(notes.join()).toMatch(/left alone: .* and 295 more/);
      await meet(a, b);
      await same(a, b);
    });
  });
}
