import type { Hash } from "@vlinder/protocol";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { localConformance } from "./conformance/local.ts";
import { compareWithModel } from "./conformance/model.ts";
import { hashOf, object, type OpenedStorage, reply, text, TIME, transaction } from "./conformance/samples.ts";
import {
  BranchConflict,
  type BranchMove,
  KINDS,
  type ObjectStorage,
  type StoredObject,
  type Transaction,
} from "./object-storage.ts";
import { sweepObjects } from "./sweep.ts";

export type { OpenedStorage };

const MAIN = hashOf("main");
const [A, B, C] = [hashOf("commit a"), hashOf("commit b"), hashOf("commit c")];
const move = (expected: Hash | null, next: Hash | null, rest: Partial<BranchMove> = {}): BranchMove => {
  return { id: MAIN, name: "main", expected, next, why: "test", time: TIME, ...rest };
};
const moves = (...branches: BranchMove[]): Transaction => transaction({ branches });

/** All promises of object-storage.ts, for any backend: `open` gives an empty storage. Run it in a file of vitest. */
export function objectStorageConformance(name: string, open: () => Promise<OpenedStorage>): void {
  describe(`object storage: ${name}`, () => {
    let opened: OpenedStorage;
    let storage: ObjectStorage;

    beforeEach(async () => {
      opened = await open();
      storage = opened.storage;
    });
    afterEach(async () => {
      await storage.close();
      await opened.dispose();
    });

    const head = async (id = MAIN): Promise<Hash | null> => {
      return (await storage.branches()).find((branch) => branch.id === id)?.head ?? null;
    };
    const conflict = async (attempt: Promise<void>): Promise<BranchConflict> => {
      const error = await attempt.then(
        () => null,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(BranchConflict);
      return error as BranchConflict;
    };

    test("is empty at first", async () => {
      expect(await storage.read("value", [A, B])).toEqual([null, null]);
      expect(await storage.branches()).toEqual([]);
      expect(await storage.reflog(null, 10)).toEqual([]);
      expect(await storage.reflog(MAIN, 10)).toEqual([]);
      expect(await storage.reply("id")).toBe(null);
      expect(await storage.scan("commit", null, 10)).toEqual([]);
      expect((await storage.usage()).counts).toEqual(Object.fromEntries(KINDS.map((kind) => [kind, 0])));
      expect(storage.uri).toMatch(/^[a-z0-9+.-]+:\/\//);
    });

    test("gives bytes back as they were, from none to many", async () => {
      const all = [0, 1, 300, 4096, 65_536, 3_000_000].map((size): StoredObject => {
        const bytes = Buffer.alloc(size, "\0\xff bytes", "latin1");
        return { kind: "value", hash: hashOf(bytes), bytes };
      });
      await storage.apply(transaction({ objects: all }));
      const found = await storage.read(
        "value",
        all.map(({ hash }) => hash),
      );
      for (const [index, { bytes }] of all.entries()) expect(Buffer.compare(found[index] as Buffer, bytes)).toBe(0);
    });

    test("when it says that it keeps copies, the memory of what was stored can be given back", async () => {
      const bytes = Buffer.from(new ArrayBuffer(2_000_000)).fill("bytes");
      const parts = [bytes.subarray(0, 1000), bytes.subarray(1000)];
      const objects = parts.map((part): StoredObject => ({ kind: "value", hash: hashOf(part), bytes: part }));
      const expected = parts.map((part) => Buffer.from(part));
      await storage.apply(transaction({ objects }));
      if (storage.keepsCopies === true) bytes.buffer.transfer(0);
      const found = await storage.read(
        "value",
        objects.map(({ hash }) => hash),
      );
      for (const [index, part] of expected.entries()) expect(Buffer.compare(found[index] as Buffer, part)).toBe(0);
    });

    test("reads in the order asked for, with null for what is missing, and duplicates", async () => {
      const [one, two] = [object("one"), object("two")];
      await storage.apply(transaction({ objects: [one, two] }));
      const found = await storage.read("value", [two.hash, A, one.hash, two.hash, A]);
      expect(found.map((bytes) => bytes && Buffer.from(bytes).toString())).toEqual(["two", null, "one", "two", null]);
      expect(await storage.read("value", [])).toEqual([]);
    });

    test("keeps each kind apart", async () => {
      const same = KINDS.map((kind): StoredObject => ({ kind, hash: A, bytes: text(`as ${kind}`) }));
      await storage.apply(transaction({ objects: same.slice(1) }));
      expect(await storage.read("value", [A])).toEqual([null]);
      for (const { kind, bytes } of same.slice(1)) {
        expect(Buffer.from((await storage.read(kind, [A]))[0] as Uint8Array)).toEqual(bytes);
      }
    });

    test("leaves an object that is there as it is, within a transaction too", async () => {
      const first = object("bytes");
      const second = { ...first, bytes: text("other bytes under the same hash") };
      await storage.apply(transaction({ objects: [first, second] }));
      await storage.apply(transaction({ objects: [second] }));
      expect(Buffer.from((await storage.read("value", [first.hash]))[0] as Uint8Array).toString()).toBe("bytes");
      expect((await storage.usage()).counts.value).toBe(1);
    });

    test("tells apart hashes that begin alike", async () => {
      const alike = ["00", "01", "ff"].map((end): StoredObject => {
        return { kind: "node", hash: `${"ab".repeat(31)}${end}` as Hash, bytes: text(end) };
      });
      for (const one of alike) await storage.apply(transaction({ objects: [one] }));
      const found = await storage.read("node", alike.map(({ hash }) => hash).reverse());
      expect(found.map((bytes) => Buffer.from(bytes as Uint8Array).toString())).toEqual(["ff", "01", "00"]);
      expect((await storage.scan("node", alike[0]?.hash ?? A, 5)).map(({ hash }) => hash)).toEqual([
        alike[1]?.hash,
        alike[2]?.hash,
      ]);
      await storage.remove("node", [alike[1]?.hash ?? A]);
      expect(
        (
          await storage.read(
            "node",
            alike.map(({ hash }) => hash),
          )
        ).map((bytes) => bytes === null),
      ).toEqual([false, true, false]);
    });

    test("moves a branch only from where it is expected", async () => {
      await storage.apply(moves(move(null, A)));
      await storage.apply(moves(move(A, B, { name: "renamed", sealed: true })));
      expect(await storage.branches()).toEqual([{ id: MAIN, name: "renamed", head: B, sealed: true, deleted: [] }]);
      expect(await conflict(storage.apply(moves(move(A, C))))).toMatchObject({ branch: MAIN, actual: B });
      expect(await conflict(storage.apply(moves(move(null, C))))).toMatchObject({ branch: MAIN, actual: B });
      expect(await conflict(storage.apply(moves(move(A, C, { id: B }))))).toMatchObject({ branch: B, actual: null });
      expect(await head()).toBe(B);
    });

    test("keeps the seal unless a move says otherwise", async () => {
      await storage.apply(moves(move(null, A, { sealed: true })));
      await storage.apply(moves(move(A, B)));
      expect((await storage.branches())[0]?.sealed).toBe(true);
      await storage.apply(moves(move(B, B, { sealed: false })));
      expect((await storage.branches())[0]?.sealed).toBe(false);
    });

    test("applies nothing of a transaction in which a branch is elsewhere", async () => {
      await storage.apply(moves(move(null, A)));
      const other = hashOf("other");
      const half = transaction({
        objects: [object("lost")],
        branches: [move(A, B), move(null, C, { id: other }), move(C, A)],
        replies: [reply("lost")],
      });
      expect(await conflict(storage.apply(half))).toMatchObject({ branch: MAIN, actual: B });
      expect(await head()).toBe(A);
      expect(await head(other)).toBe(null);
      expect(await storage.read("value", [object("lost").hash])).toEqual([null]);
      expect(await storage.reply("lost")).toBe(null);
      expect(await storage.reflog(null, 10)).toHaveLength(1);
      expect((await storage.usage()).counts.value).toBe(0);
    });

    test("makes several moves of one branch in a transaction, each from the one before", async () => {
      await storage.apply(moves(move(null, A), move(A, B), move(B, C)));
      expect(await head()).toBe(C);
      expect((await storage.reflog(MAIN, 10)).map(({ to }) => to)).toEqual([C, B, A]);
    });

    test("leaves a tombstone, over which the branch can be made again", async () => {
      await storage.apply(moves(move(null, A)));
      await storage.apply(moves(move(A, null)));
      expect(await storage.branches()).toEqual([{ id: MAIN, name: "main", head: null, sealed: false, deleted: [A] }]);
      expect(await conflict(storage.apply(moves(move(A, B))))).toMatchObject({ branch: MAIN, actual: null });
      await storage.apply(moves(move(null, null, { deleted: [C] })));
      const graves = [A, C].sort((a, b) => (a < b ? -1 : 1));
      expect((await storage.branches())[0]?.deleted).toEqual(graves);
      await storage.apply(moves(move(null, B)));
      const back = { id: MAIN, name: "main", head: B, sealed: false, deleted: graves };
      expect(await storage.branches()).toEqual([back]);
      await storage.apply(moves(move(B, B, { deleted: [A] })));
      expect(await storage.branches()).toEqual([back]);
      await storage.apply(moves(move(B, null)));
      expect((await storage.branches())[0]?.deleted).toEqual([A, B, C].sort((a, b) => (a < b ? -1 : 1)));
    });

    test("lists branches in the order of their ids", async () => {
      const ids = ["x", "y", "z", "w"].map(hashOf);
      await storage.apply(moves(...ids.map((id) => move(null, A, { id, name: id.slice(0, 8) }))));
      expect((await storage.branches()).map(({ id }) => id)).toEqual(ids.sort());
    });

    test("keeps every move in the reflog, newest first", async () => {
      const side = hashOf("side");
      await storage.apply(moves(move(null, A, { why: "first" })));
      await storage.apply(moves(move(null, A, { id: side, name: "side", why: "fork" }), move(A, B, { why: "put" })));
      await storage.apply(moves(move(B, null, { why: "deleted", name: "old main", time: "2026-11-21T00:00:00.000Z" })));
      const gone = {
        branch: MAIN,
        name: "old main",
        from: B,
        to: null,
        why: "deleted",
        time: "2026-11-21T00:00:00.000Z",
      };
      const put = { branch: MAIN, name: "main", from: A, to: B, why: "put", time: TIME };
      const fork = { branch: side, name: "side", from: null, to: A, why: "fork", time: TIME };
      const first = { branch: MAIN, name: "main", from: null, to: A, why: "first", time: TIME };
      expect(await storage.reflog(null, 10)).toEqual([gone, put, fork, first]);
      expect(await storage.reflog(MAIN, 10)).toEqual([gone, put, first]);
      expect(await storage.reflog(MAIN, 2)).toEqual([gone, put]);
      expect(await storage.reflog(side, 1)).toEqual([fork]);
      expect(await storage.reflog(null, 0)).toEqual([]);
    });

    localConformance(() => storage);

    test("keeps the first reply to an id, until it is dropped", async () => {
      const first = reply("id-1 ü", 1000, '{"text":"ü 😀"}');
      await storage.apply(transaction({ replies: [first, reply("id-2", 3000), { ...first, reply: "second" }] }));
      await storage.apply(transaction({ replies: [{ ...first, request: A, time: 9000 }] }));
      expect(await storage.reply("id-1 ü")).toEqual(first);
      await storage.dropReplies(1000);
      expect(await storage.reply("id-1 ü")).toEqual(first);
      await storage.dropReplies(1001);
      expect(await storage.reply("id-1 ü")).toBe(null);
      expect(await storage.reply("id-2")).toEqual(reply("id-2", 3000));
      await storage.apply(transaction({ replies: [reply("id-1 ü", 4000)] }));
      expect(await storage.reply("id-1 ü")).toEqual(reply("id-1 ü", 4000));
    });

    test("drops replies by their time, whatever order they came in", async () => {
      const times = Array.from({ length: 5000 }, (_, index) => (index * 7919) % 5000);
      await storage.apply(transaction({ replies: times.map((time) => reply(`id-${time}`, time)) }));
      await storage.dropReplies(4990);
      const left = await Promise.all(times.map(async (time) => (await storage.reply(`id-${time}`)) !== null));
      expect(times.filter((_, index) => left[index])).toEqual(times.filter((time) => time >= 4990));
    });

    test("pages through a kind in the order of hashes", async () => {
      const all = Array.from({ length: 257 }, (_, index) => object(`node ${index}`, "node"));
      for (let at = 0; at < all.length; at += 50) await storage.apply(transaction({ objects: all.slice(at, at + 50) }));
      await storage.apply(transaction({ objects: [object("of another kind")] }));
      const found: StoredObject[] = [];
      for (let page = await storage.scan("node", null, 32); page.length > 0;) {
        expect(page.length).toBeLessThanOrEqual(32);
        found.push(...page);
        page = await storage.scan("node", page.at(-1)?.hash ?? null, 32);
      }
      expect(found.map(({ hash }) => hash)).toEqual(all.map(({ hash }) => hash).sort());
      for (const { kind, hash, bytes } of found) expect([kind, hashOf(bytes)]).toEqual(["node", hash]);
      expect(await storage.scan("node", null, 0)).toEqual([]);
      expect(await storage.scan("node", "f".repeat(64) as Hash, 5)).toEqual([]);
      expect(await storage.scan("node", "0".repeat(64) as Hash, 1)).toHaveLength(1);
    });

    test("sweeps through a kind: each object once, whatever is stored and removed meanwhile", async () => {
      const all = Array.from({ length: 700 }, (_, index) => object(`value ${index} `.repeat(1 + (index % 50) * 20)));
      for (let at = 0; at < all.length; at += 100) {
        await storage.apply(transaction({ objects: all.slice(at, at + 100) }));
      }
      await storage.apply(transaction({ objects: [object("of another kind", "node")] }));
      await storage.remove("value", [all[3]?.hash ?? A, all[699]?.hash ?? A]);
      const found: StoredObject[] = [];
      let batches = 0;
      for await (const batch of sweepObjects(storage, "value")) {
        found.push(...batch);
        if (++batches === 1) {
          await storage.apply(transaction({ objects: [object("new")] }));
          await storage.remove("value", [all[350]?.hash ?? A]);
        }
      }
      expect(batches).toBeGreaterThan(1);
      for (const { kind, hash, bytes } of found) expect([kind, hashOf(bytes)]).toEqual(["value", hash]);
      const hashes = found.map(({ hash }) => hash);
      expect(new Set(hashes).size).toBe(hashes.length);
      const either = new Set([all[350]?.hash, object("new").hash]);
      const kept = all.filter((_, index) => index !== 3 && index !== 699).map(({ hash }) => hash);
      const sure = (list: readonly Hash[]): Hash[] => list.filter((hash) => !either.has(hash)).sort();
      expect(sure(hashes)).toEqual(sure(kept));
      for await (const batch of sweepObjects(storage, "chunk")) expect(batch).toEqual([]);
    });

    test("removes objects, and takes them again", async () => {
      const all = Array.from({ length: 20 }, (_, index) => object(`value ${index}`));
      await storage.apply(transaction({ objects: all }));
      const gone = all.slice(10).map(({ hash }) => hash);
      await storage.remove("value", [...gone, A, gone[0] ?? A]);
      await storage.remove("commit", [all[0]?.hash ?? A]);
      const found = await storage.read(
        "value",
        all.map(({ hash }) => hash),
      );
      expect(found.map((bytes) => bytes !== null)).toEqual(all.map((_, index) => index < 10));
      expect(await storage.scan("value", null, 100)).toHaveLength(10);
      expect((await storage.usage()).counts.value).toBe(10);
      await storage.apply(transaction({ objects: all.slice(8, 13) }));
      expect((await storage.usage()).counts.value).toBe(13);
      expect((await storage.read("value", [all[12]?.hash ?? A]))[0]).not.toBe(null);
      await storage.remove(
        "value",
        all.map(({ hash }) => hash),
      );
      await storage.apply(transaction({ objects: all.slice(0, 3) }));
      expect((await storage.usage()).counts.value).toBe(3);
    });

    test("counts exactly, and counts bytes", async () => {
      await storage.apply(transaction({ objects: [object("a"), object("b"), object("a", "chunk")] }));
      const { counts, bytes } = await storage.usage();
      expect(counts).toEqual({ value: 2, chunk: 1, list: 0, node: 0, changes: 0, snapshot: 0, commit: 0 });
      expect(bytes).toBeGreaterThanOrEqual(3);
    });

    test("applies in the order of the calls, and shows what was acknowledged", async () => {
      const chain = Array.from({ length: 200 }, (_, index) => hashOf(`commit ${index}`));
      const done = chain.map(async (next, index) => {
        const bytes = text(`value ${index}`);
        await storage.apply(
          transaction({
            objects: [{ kind: "value", hash: hashOf(bytes), bytes }],
            branches: [move(chain[index - 1] ?? null, next)],
          }),
        );
        expect((await storage.read("value", [hashOf(bytes)]))[0]).not.toBe(null);
        expect(chain.indexOf((await head()) as Hash)).toBeGreaterThanOrEqual(index);
      });
      await Promise.all(done);
      expect((await storage.reflog(MAIN, 1000)).map(({ to }) => to)).toEqual(chain.toReversed());
    });

    test("lets each of several transactions fail by itself", async () => {
      const attempts = [move(null, A), move(null, B), move(A, C), move(A, B), move(C, B)].map((one, index) =>
        storage.apply(transaction({ branches: [one], objects: [object(`with ${index}`)] })),
      );
      const results = await Promise.allSettled(attempts);
      expect(results.map(({ status }) => status === "fulfilled")).toEqual([true, false, true, false, true]);
      const found = await storage.read(
        "value",
        attempts.map((_, index) => object(`with ${index}`).hash),
      );
      expect(found.map((bytes) => bytes !== null)).toEqual([true, false, true, false, true]);
      expect(await head()).toBe(B);
    });

    test("takes an empty transaction", async () => {
      await storage.apply(transaction({}));
      expect(await storage.reflog(null, 10)).toEqual([]);
    });

    test("finishes what is under way when it is closed, and may be closed twice", async () => {
      const under = Array.from({ length: 20 }, (_, index) =>
        storage.apply(transaction({ objects: [object(`o${index}`)] })),
      );
      await Promise.all([storage.close(), storage.close()]);
      await storage.close();
      expect((await Promise.allSettled(under)).every(({ status }) => status === "fulfilled")).toBe(true);
      if (opened.reopen === undefined) return;
      storage = await opened.reopen();
      expect((await storage.usage()).counts.value).toBe(20);
    });

    test("has everything when it is opened again", async ({ skip }) => {
      const { reopen } = opened;
      if (reopen === undefined) return skip("nothing of it outlives it");
      await storage.apply(
        transaction({
          objects: [object("kept"), object("gone")],
          branches: [move(null, A)],
          replies: [reply("id")],
          notes: [{ name: "note", bytes: text("kept") }],
        }),
      );
      await storage.remove("value", [object("gone").hash]);
      const before = [await storage.branches(), await storage.reflog(null, 9), await storage.scan("value", null, 9)];
      await storage.close();
      storage = await reopen();
      expect([await storage.branches(), await storage.reflog(null, 9), await storage.scan("value", null, 9)]).toEqual(
        before,
      );
      expect(await storage.reply("id")).toEqual(reply("id"));
      expect((await storage.notes("")).map(({ name }) => name)).toEqual(["note"]);
      expect((await storage.usage()).counts.value).toBe(1);
    });

    test("does what a plain model does, whatever is asked", () => compareWithModel(open));
  });
}
