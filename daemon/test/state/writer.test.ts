import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { type BranchName, type Hash, MAIN } from "@vlinder/protocol";
import { afterEach, describe, expect, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import { contents, key, op, openEngine, put } from "./harness.ts";
import { holds } from "./property.ts";
import { FaultyObjects } from "./storage-faults.ts";

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
});

async function open(storage = new FaultyObjects(), device = 1) {
  const it = await openEngine({ storage, device });
  opened.push(it.engine);
  storage.applies = 0;
  return { ...it, storage };
}

const write = (engine: StateEngine, name: string, value: string | null, expect?: Hash | null, id?: string) =>
  engine.write(
    {
      space: "kv",
      kind: "kv.put",
      branch: MAIN,
      ops: [{ ...op(name, value), ...(expect === undefined ? {} : { expect }) }],
    },
    id,
  );

async function settled<T>(promise: Promise<T>): Promise<"pending" | "done"> {
  let state: "pending" | "done" = "pending";
  void Promise.allSettled([promise]).then(() => {
    state = "done";
  });
  for (let i = 0; i < 20; i++) await nextTurn();
  return state;
}

describe("group commit", () => {
  test("64 puts at once share a transaction, and each has a commit of its own", async () => {
    const { engine, storage } = await open();
    const replies = await Promise.all(Array.from({ length: 64 }, (_, i) => write(engine, `/k${i}`, `${i}`)));
    expect(new Set(replies.map(({ state }) => state)).size).toBe(64);
    expect(storage.applies).toBe(1);
  });

  test("what arrives while a transaction is under way travels in the next one", async () => {
    const { engine, storage } = await open();
    storage.hold();
    const first = write(engine, "/first", "1");
    await nextTurn();
    await nextTurn();
    const rest = Promise.all(Array.from({ length: 63 }, (_, i) => write(engine, `/k${i}`, `${i}`)));
    expect(await settled(rest)).toBe("pending");
    storage.release();
    await Promise.all([first, rest]);
    expect(storage.applies).toBe(2);
  });

  test("2,000 puts at once are all there, in order, in a few transactions", async () => {
    const { engine, storage } = await open();
    const replies = await Promise.all(Array.from({ length: 2000 }, (_, i) => write(engine, `/k${i % 300}`, `${i}`)));
    expect(storage.applies).toBeLessThanOrEqual(6);
    expect(await engine.resolve("main")).toBe(replies.at(-1)?.state);
    const expected = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`/k${i % 300}`, `${i}`]));
    expect(await contents(engine)).toEqual(expected);
    expect((await engine.verify()).damage).toEqual([]);
  });
});

describe("durable-only answers", () => {
  test("a reply comes after its transaction, and reads show the old state until then", async () => {
    const { engine, storage } = await open();
    const before = await put(engine, { "/a": "old" });
    storage.hold();
    const reply = write(engine, "/a", "new");
    expect(await settled(reply)).toBe("pending");
    expect(await engine.resolve("main")).toBe(before);
    expect((await (await engine.stateOf()).get("kv", key("/a")))?.hash).toBe(op("/a", "old").value?.hash);
    storage.release();
    await reply;
    expect(await contents(engine)).toEqual({ "/a": "new" });
  });

  test("a conflict that rests on an unsaved change waits for it", async () => {
    const { engine, storage } = await open();
    storage.hold();
    const first = write(engine, "/a", "1", null);
    const second = write(engine, "/a", "2", null).catch((error: unknown) => error);
    expect(await settled(second)).toBe("pending");
    storage.release();
    await first;
    expect(await second).toMatchObject({ code: "conflict", details: { actual: op("/a", "1").value?.hash } });
  });

  test("a conflict that rests on a change which is never saved is computed again", async () => {
    const { engine, storage } = await open();
    storage.fails = (n) => n === 1;
    storage.hold();
    const first = write(engine, "/a", "1", null).catch((error: unknown) => error);
    await nextTurn();
    await nextTurn();
    const second = write(engine, "/a", "2", null);
    storage.release();
    expect(await first).toMatchObject({ code: "unavailable", retryable: true });
    await second;
    expect(storage.fired).toBe(1);
    expect(await contents(engine)).toEqual({ "/a": "2" });
  });

  test("moves are told of once they are durable, and not when they fail", async () => {
    const { engine, storage } = await open();
    const told: unknown[] = [];
    engine.onMoves((moves) => told.push(...moves));
    storage.fails = (n) => n === 1;
    await expect(write(engine, "/a", "1")).rejects.toMatchObject({ code: "unavailable" });
    expect(told).toEqual([]);
    const from = await engine.resolve("main");
    const { state } = await write(engine, "/a", "1");
    expect(told).toEqual([{ branch: engine.branch(MAIN).id, name: "main", from, to: state }]);
  });
});

describe("a transaction that fails", () => {
  test("its requests are unavailable, those behind are computed on the durable head, at every position", async () => {
    const BATCHES = 6;
    for (let failing = 1; failing <= BATCHES; failing++) {
      const { engine, storage } = await open();
      const start = await put(engine, { "/start": "0" });
      storage.applies = 0;
      storage.fails = (n) => n === failing;
      const answers: Promise<{ batch: number; error: unknown }>[] = [];
      for (let batch = 0; batch < BATCHES; batch++) {
        for (let i = 0; i < 3; i++) {
          const answer = write(engine, `/${batch}/${i}`, `${batch}`);
          answers.push(
            answer.then(
              () => ({ batch, error: null }),
              (error: unknown) => ({ batch, error }),
            ),
          );
        }
        await nextTurn();
        await nextTurn();
      }
      const results = await Promise.all(answers);
      expect(storage.fired).toBe(1);
      const refused = results.filter(({ error }) => error !== null);
      expect(refused.length).toBeGreaterThan(0);
      for (const { error } of refused) expect(error).toMatchObject({ code: "unavailable" });
      const expected: Record<string, string> = { "/start": "0" };
      results.forEach(({ batch, error }, i) => {
        if (error === null) expected[`/${batch}/${i % 3}`] = `${batch}`;
      });
      expect(await contents(engine)).toEqual(expected);
      expect((await engine.verify()).damage).toEqual([]);
      // The chain from the head holds the acknowledged commits and nothing else.
      let commits = 0;
      for await (const { hash } of engine.log(await engine.resolve("main"))) {
        if (hash === start) break;
        commits++;
      }
      expect(commits).toBe(results.length - refused.length);
    }
  });

  test("at random, over interval boundaries, forks, rewinds and promotes", { timeout: 120_000 }, async () => {
    const property = fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(3), fc.nat(40), fc.integer({ min: 1, max: 40 })), {
        minLength: 1,
        maxLength: 12,
        size: "max",
      }),
      fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }),
      async (rounds, failing) => {
        const { engine, storage } = await open();
        storage.fails = (n) => n > 1 && failing[n % failing.length] === true;
        const model = new Map<string, Record<string, string>>([["main", {}]]);
        const root = await engine.resolve("main");
        const durable: { state: Hash; holds: Record<string, string> }[] = [{ state: root as Hash, holds: {} }];
        for (const [i, [what, target, puts]] of rounds.entries()) {
          const past = durable[target % durable.length] as (typeof durable)[0];
          const jobs: Promise<void>[] = [];
          // What a request does to the model is known only when it is answered: in the order of the requests.
          const then = (
            answer: Promise<{ state: Hash }>,
            change: (holds: Record<string, string>) => Record<string, string>,
            branch = "main",
            idle: string | null = null,
          ) => {
            jobs.push(
              answer.then(
                ({ state }) => {
                  const holds = change(model.get(branch) ?? {});
                  model.set(branch, holds);
                  durable.push({ state, holds });
                },
                (error: unknown) => expect(["unavailable", idle]).toContain((error as { code: string }).code),
              ),
            );
          };
          if (what === 0) then(engine.rewind(MAIN, past.state), () => past.holds);
          if (what === 1) then(engine.fork(`f${i}` as BranchName, past.state), () => past.holds, `f${i}`);
          if (what === 2) {
            const names = [...model.keys()].filter((name) => name !== "main");
            const name = names[target % names.length];
            const holds = model.get(name ?? "") ?? {};
            // It may hold what main does: then there is nothing to promote.
            if (name !== undefined) then(engine.promote(name as BranchName, MAIN), () => holds, "main", "invalid");
          }
          for (let p = 0; p < puts; p++) {
            const name = `/k${(target * 7 + p) % 50}`;
            then(write(engine, name, `${i} ${p}`), (holds) => ({ ...holds, [name]: `${i} ${p}` }));
            if (p % 9 === 8) await nextTurn();
          }
          await Promise.all(jobs);
        }
        for (const [name, holds] of model) expect(await contents(engine, name)).toEqual(holds);
        for (const { state, holds } of durable.filter((_, i) => i % 5 === 0))
          expect(await contents(engine, state)).toEqual(holds);
        storage.fails = () => false;
        expect((await engine.verify()).damage).toEqual([]);
        faults += storage.fired;
      },
    );
    let faults = 0;
    await holds("writer with faults", property, 15);
    process.stdout.write(`writer with faults: ${faults} fired\n`);
    expect(faults).toBeGreaterThan(0);
  });

  test("a branch that was made or deleted by it is as before", async () => {
    const { engine, storage } = await open();
    const at = (await put(engine, { "/a": "1" })) as Hash;
    await engine.fork("stays" as BranchName, at);
    storage.applies = 0;
    storage.fails = () => true;
    const failed = [
      engine.fork("new" as BranchName, at),
      engine.deleteBranch("stays" as BranchName),
      write(engine, "/a", "2"),
    ];
    for (const answer of failed) await expect(answer).rejects.toMatchObject({ code: "unavailable" });
    expect(storage.fired).toBe(1);
    expect(
      engine
        .liveBranches()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(["main", "stays"]);
    expect(await contents(engine)).toEqual({ "/a": "1" });
    storage.fails = () => false;
    await engine.fork("new" as BranchName, at);
    await put(engine, { "/b": "2" }, "stays" as BranchName);
    expect((await engine.verify()).damage).toEqual([]);
  });
});

describe("requests in one transaction that build on each other", () => {
  test("a rewind to a commit that is not saved yet", async () => {
    // The same writes by the same clock on another engine tell the hash beforehand.
    const twin = await open();
    const { state: wanted } = await write(twin.engine, "/a", "1");
    const { engine, storage } = await open();
    storage.hold();
    const answers = [
      write(engine, "/a", "1"),
      write(engine, "/a", "2"),
      engine.rewind(MAIN, wanted),
      write(engine, "/b", "3"),
    ];
    const forked = engine.fork("f" as BranchName, wanted);
    storage.release();
    const [first] = await Promise.all(answers);
    await forked;
    expect(first?.state).toBe(wanted);
    expect(storage.applies).toBe(1);
    expect(await contents(engine)).toEqual({ "/a": "1", "/b": "3" });
    expect(await contents(engine, "f")).toEqual({ "/a": "1" });
    expect((await engine.verify()).damage).toEqual([]);
  });

  test("a fork that is written to and deleted leaves a tombstone with the commit that it had last", async () => {
    const { engine, storage } = await open();
    const at = (await put(engine, { "/a": "1" })) as Hash;
    storage.applies = 0;
    const name = "short" as BranchName;
    const forked = engine.fork(name, at);
    const written = put(engine, { "/a": "2" }, name);
    const [{ branch }, last, deleted] = await Promise.all([forked, written, engine.deleteBranch(name)]);
    expect(storage.applies).toBe(1);
    expect(deleted.state).toBe(last);
    const tombstone = { id: branch, name, head: null, sealed: false, deleted: [last] };
    expect(engine.branches().find(({ id }) => id === branch)).toEqual(tombstone);
    expect((await storage.branches()).find(({ id }) => id === branch)).toEqual(tombstone);
  });

  test("a branch of the same name may be deleted and made again", async () => {
    const { engine, storage } = await open();
    const at = (await put(engine, { "/a": "1" })) as Hash;
    const name = "x" as BranchName;
    await engine.fork(name, at);
    storage.applies = 0;
    const [, made] = await Promise.all([
      engine.deleteBranch(name),
      engine.fork(name, at),
      put(engine, { "/b": "2" }, name),
    ]);
    expect(storage.applies).toBe(1);
    expect(engine.branch(name).id).toBe(made.branch);
    expect(await contents(engine, name)).toEqual({ "/a": "1", "/b": "2" });
  });
});

describe("two daemons on one storage", () => {
  test("both make progress and no update is lost", async () => {
    const storage = new FaultyObjects();
    const one = await open(storage, 1);
    const two = await open(storage, 2);
    const count = async (engine: StateEngine, n: number): Promise<number> => {
      let tries = 0;
      for (let done = 0; done < n; tries++) {
        const entry = await (await engine.stateOf()).get("kv", key("/count"));
        const now =
          entry === null ? 0 : Number(Buffer.from(await engine.requiredValue(entry.hash, entry.size)).toString());
        try {
          await write(engine, "/count", `${now + 1}`, entry?.hash ?? null);
          done++;
        } catch (error) {
          expect(["conflict", "unavailable"]).toContain((error as { code?: string }).code);
        }
        if (tries > 2000) throw new Error("no progress");
      }
      return tries;
    };
    const tries = await Promise.all([count(one.engine, 40), count(two.engine, 40)]);
    expect(Math.max(...tries), "conflicts happened").toBeGreaterThan(40);
    const fresh = await open(storage, 3);
    expect(await contents(fresh.engine)).toEqual({ "/count": "80" });
    expect((await fresh.engine.verify()).damage).toEqual([]);
  });

  test("writes to different keys are computed again on the head that won", async () => {
    const storage = new FaultyObjects();
    const one = await open(storage, 1);
    const two = await open(storage, 2);
    const answers: Promise<unknown>[] = [];
    for (let i = 0; i < 50; i++) {
      answers.push(write(one.engine, `/one/${i}`, `${i}`), write(two.engine, `/two/${i}`, `${i}`));
      if (i % 10 === 9) await nextTurn();
    }
    await Promise.all(answers);
    const fresh = await open(storage, 3);
    expect(Object.keys(await contents(fresh.engine))).toHaveLength(100);
    expect((await fresh.engine.verify()).damage).toEqual([]);
  });
});

describe("idempotency", () => {
  test("duplicates at once are one commit, and get the first reply, also after a restart", async () => {
    const { engine, storage } = await open();
    const replies = await Promise.all(Array.from({ length: 8 }, () => write(engine, "/a", "1", null, "id-1")));
    expect(new Set(replies.map(({ state }) => state)).size).toBe(1);
    const restarted = await open(storage);
    expect(await write(restarted.engine, "/a", "1", null, "id-1")).toEqual(replies[0]);
    await expect(write(restarted.engine, "/a", "2", null, "id-1")).rejects.toMatchObject({ code: "conflict" });
  });

  test("a request that failed is not remembered", async () => {
    const { engine, storage } = await open();
    storage.fails = (n) => n === 1;
    await expect(write(engine, "/a", "1", null, "id-1")).rejects.toMatchObject({ code: "unavailable" });
    const { state } = await write(engine, "/a", "1", null, "id-1");
    expect(await engine.resolve("main")).toBe(state);
    await expect(write(engine, "/a", "2", null, "id-2")).rejects.toMatchObject({ code: "conflict" });
    await write(engine, "/a", null);
    expect(await write(engine, "/a", "2", null, "id-2")).toMatchObject({ applied: [true] });
  });

  test("an id that was used again after a day is remembered for another day", async () => {
    const { engine, clock } = await open();
    const first = await write(engine, "/a", "1", undefined, "id-1");
    clock.tick(25 * 60 * 60 * 1000);
    const second = await write(engine, "/a", "1", undefined, "id-1");
    expect(second.state).not.toBe(first.state);
    clock.tick(1000);
    expect(await write(engine, "/a", "1", undefined, "id-1")).toEqual(second);
  });
});

describe("close", () => {
  test("during load answers all that was asked before, and refuses what comes after", async () => {
    const { engine, storage } = await open();
    const answers = Promise.allSettled(Array.from({ length: 700 }, (_, i) => write(engine, `/k${i}`, `${i}`)));
    await nextTurn();
    const closing = engine.close();
    await expect(write(engine, "/late", "1")).rejects.toMatchObject({ code: "unavailable" });
    const results = await answers;
    expect(results.every(({ status }) => status === "fulfilled")).toBe(true);
    await closing;
    expect(storage.applies).toBeGreaterThan(0);
  });
});
