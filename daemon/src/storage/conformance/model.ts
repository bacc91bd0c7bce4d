import type { Hash } from "@vlinder/protocol";
import fc from "fast-check";
import { expect } from "vitest";
import { MemoryObjects } from "../backends/memory.ts";
import { type BranchMove, KINDS, type ObjectStorage, type StoredObject, type Transaction } from "../object-storage.ts";
import { hashOf, object, type OpenedStorage, reply, TIME } from "./samples.ts";

/** Random transactions, removals and openings anew: after each, all that can be read is as in the model. */
export async function compareWithModel(open: () => Promise<OpenedStorage>): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.array(STEP, { maxLength: 25 }), async (steps) => {
      const run = await open();
      let real = run.storage;
      const model = new MemoryObjects("memory://model");
      try {
        for (const step of steps) {
          if (step.do !== "reopen") {
            expect(await outcome(real, step)).toEqual(await outcome(model, step));
          } else if (run.reopen !== undefined) {
            await real.close();
            real = await run.reopen();
          }
          expect(await everything(real)).toEqual(await everything(model));
        }
      } finally {
        await real.close();
        await run.dispose();
      }
    }),
    { numRuns: 25 },
  );
}

const COMMITS = ["p", "q", "r"].map(hashOf);
const BRANCHES = ["main", "side"].map(hashOf);
const BYTES = Array.from({ length: 12 }, (_, index) => object(`step ${index}`));

type Step =
  | { readonly do: "apply"; readonly transactions: readonly Transaction[] }
  | { readonly do: "remove"; readonly kind: StoredObject["kind"]; readonly hashes: readonly Hash[] }
  | { readonly do: "dropReplies"; readonly before: number }
  | { readonly do: "reopen" };

const anyKind = fc.constantFrom("value", "node", "commit" as const) as fc.Arbitrary<StoredObject["kind"]>;
const anyObject = fc.tuple(anyKind, fc.constantFrom(...BYTES)).map(([kind, one]) => ({ ...one, kind }));
const anyCommit = fc.option(fc.constantFrom(...COMMITS), { freq: 2 });
const anyMove: fc.Arbitrary<BranchMove> = fc
  .record({
    id: fc.constantFrom(...BRANCHES),
    name: fc.constantFrom("main", "side"),
    expected: anyCommit,
    next: anyCommit,
    sealed: fc.option(fc.boolean(), { nil: undefined }),
    why: fc.constantFrom("put", "rewind"),
    time: fc.constant(TIME),
  })
  .map(({ sealed, ...rest }) => (sealed === undefined ? rest : { ...rest, sealed }));
const anyReply = fc
  .tuple(fc.nat({ max: 6 }), fc.nat({ max: 9 }), fc.constantFrom("{}", '{"a":1}'))
  .map(([id, time, words]) => reply(`id-${id}`, time, words));
const anyTransaction: fc.Arbitrary<Transaction> = fc.record({
  objects: fc.array(anyObject, { maxLength: 6 }),
  branches: fc.array(anyMove, { maxLength: 2 }),
  replies: fc.array(anyReply, { maxLength: 3 }),
});
const STEP: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("apply" as const),
      transactions: fc.array(anyTransaction, { maxLength: 4 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("remove" as const),
      kind: anyKind,
      hashes: fc.array(fc.constantFrom(...BYTES.map(({ hash }) => hash)), { maxLength: 8 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("dropReplies" as const), before: fc.nat({ max: 10 }) }) },
  { weight: 1, arbitrary: fc.constant({ do: "reopen" as const }) },
);

/** What a step ended with, in a form that can be compared; transactions of a step are under way together. */
async function outcome(storage: ObjectStorage, step: Exclude<Step, { do: "reopen" }>): Promise<unknown> {
  if (step.do === "remove") return storage.remove(step.kind, step.hashes);
  if (step.do === "dropReplies") return storage.dropReplies(step.before);
  const results = await Promise.allSettled(step.transactions.map((one) => storage.apply(one)));
  return results.map((result) => (result.status === "fulfilled" ? "applied" : String(result.reason)));
}

async function everything(storage: ObjectStorage): Promise<unknown> {
  const found = await Promise.all(
    KINDS.map(async (kind) => {
      const scanned = await storage.scan(kind, null, 100);
      const read = await storage.read(
        kind,
        BYTES.map(({ hash }) => hash),
      );
      return [
        scanned.map(({ hash, bytes }) => [hash, Buffer.from(bytes).toString("hex")]),
        read.map((bytes) => bytes && Buffer.from(bytes).toString("hex")),
      ];
    }),
  );
  const replies = await Promise.all(Array.from({ length: 7 }, (_, index) => storage.reply(`id-${index}`)));
  const { counts } = await storage.usage();
  return { found, replies, counts, branches: await storage.branches(), reflog: await storage.reflog(null, 1000) };
}
