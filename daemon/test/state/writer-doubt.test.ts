import { type BranchName, MAIN, VlinderError } from "@vlinder/protocol";
import { expect, onTestFinished, test } from "vitest";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import type { StoredBranch, Transaction } from "../../src/storage/object-storage.ts";
import { openEngine, put } from "./harness.ts";

const SIDE = "side" as BranchName;

/** Storage that can apply a transaction and say that it did not, as one whose writing thread ends in the midst. */
class LossyObjects extends MemoryObjects {
  loses = false;
  isAway = false;

  override async apply(transaction: Transaction): Promise<void> {
    await super.apply(transaction);
    if (this.loses) throw new VlinderError("unavailable", "the thread ended: it may have been stored or not");
  }

  override async branches(): Promise<StoredBranch[]> {
    if (this.isAway) throw new VlinderError("unavailable", "the file is away");
    return await super.branches();
  }
}

async function open() {
  const storage = new LossyObjects("memory://lossy");
  const { engine } = await openEngine({ storage });
  onTestFinished(() => engine.close());
  await put(engine, { "/a": "1" });
  return { engine, storage };
}

test("a transaction that failed and was applied is seen at once, and told", async () => {
  const { engine, storage } = await open();
  const from = engine.branch(MAIN).head;
  const told: unknown[] = [];
  engine.onMoves((moves) => told.push(...moves));
  storage.loses = true;
  await expect(put(engine, { "/a": "2" })).rejects.toMatchObject({ code: "unavailable" });
  const [{ id, head } = { id: "", head: null }] = await storage.branches();
  expect(engine.branch(MAIN).head).toBe(head);
  expect(head).not.toBe(from);
  expect(told).toEqual([{ branch: id, name: MAIN, from, to: head }]);
});

test.each([false, true])(
  "a fork of which that is true is not made twice (branches can't be read meanwhile: %s)",
  async (away) => {
    const { engine, storage } = await open();
    const from = engine.branch(MAIN).head;
    [storage.loses, storage.isAway] = [true, away];
    await expect(engine.fork(SIDE, from, "id")).rejects.toMatchObject({ code: "unavailable" });
    storage.loses = false;
    if (away) {
      await expect(put(engine, { "/a": "2" })).rejects.toMatchObject({ code: "unavailable" });
      await expect(engine.retention.collect(true)).rejects.toMatchObject({ code: "unavailable" });
      storage.isAway = false;
    }
    await expect(engine.fork(SIDE, from)).rejects.toMatchObject({ code: "conflict" });
    const { branch } = await engine.fork(SIDE, from, "id");
    expect((await storage.branches()).filter(({ name }) => name === SIDE)).toMatchObject([{ id: branch }]);
  },
);
