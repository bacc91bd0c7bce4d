import { type Hash, MAIN } from "@vlinder/protocol";
import { afterEach, describe, expect, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { type ReplayGround, Replays } from "../../src/turns/replays.ts";
import { Runs } from "../../src/turns/runs.ts";
import { AGENT, openEngine } from "../state/harness.ts";
import { codeOf, DAY, newHome, openHome, put } from "../state/retention-harness.ts";

const opened: StateEngine[] = [];
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
});

function groundOf(engine: StateEngine): ReplayGround {
  opened.push(engine);
  return { agent: AGENT, engine, requireProvider: () => {}, progress: () => {}, growth: 1 };
}

/** Replays of an agent whose code is a function of the engine and the turn, and whose process takes up what is announced. */
function replaysOf(engine: StateEngine, work: (turn: string) => Promise<unknown>): { runs: Runs; replays: Replays } {
  const runs = new Runs();
  runs.serve({
    wake: () => {},
    announce: (agent, { turn }) =>
      void runs.accept(agent, engine, { turn }).then(
        () => work(turn),
        () => {},
      ),
  });
  return { runs, replays: new Replays(runs) };
}

async function aTurn(engine: StateEngine): Promise<string> {
  const { turn } = await engine.turns.begin({ branch: MAIN, input: Buffer.from("input") });
  await engine.turns.complete(turn, Buffer.from("output"));
  return turn;
}

const names = (engine: StateEngine): string[] => engine.liveBranches().map(({ name }) => name);

describe("a replay", () => {
  test("of a base state that retention has dropped says so, and leaves nothing behind", async () => {
    const home = newHome();
    const engine = await openHome(home);
    const ground = groundOf(engine);
    await put(engine, "/a", "1");
    const turn = await aTurn(engine);
    await put(engine, "/a", "2");
    home.clock.tick(30 * DAY);
    await put(engine, "/a", "3");
    await engine.retention.collect(true);
    const asked = new Replays(new Runs()).replay(ground, { turn });
    expect(await codeOf(asked)).toBe("pruned");
    expect(names(engine)).toEqual(["main"]);
  });

  test("of answers that retention has dropped says so: the state that it began from may be there all the same", async () => {
    const home = newHome();
    const engine = await openHome(home);
    const ground = groundOf(engine);
    await put(engine, "/a", "1");
    await engine.fork("base" as never, engine.branch(MAIN).head);
    const { turn } = await engine.turns.begin({ branch: MAIN });
    const info = { service: "infer", provider: "p", method: "POST", path: "/x", status: 200, complete: true };
    const values = { request: Buffer.from("asked"), response: Buffer.from("answered") };
    await engine.turns.required(turn).record({ kind: "call", info, values });
    await engine.turns.complete(turn, Buffer.from("output"));
    home.clock.tick(30 * DAY);
    await put(engine, "/a", "3");
    await engine.retention.collect(true);
    const asked = new Replays(new Runs()).replay(ground, { turn, recorded: true });
    await expect(asked).rejects.toMatchObject({
      code: "pruned",
      remedy: expect.stringContaining("without --recorded"),
    });
    const { runs, replays } = replaysOf(engine, async (id) => runs.ended(await ends(engine, id)));
    const reply = await replays.replay(ground, { turn });
    expect(reply).toMatchObject({ same: { output: true, snapshot: true } });
  });

  test("that was under way when the daemon was killed is told as it ended, by its id, and has no fork", async () => {
    const storage = new MemoryObjects("memory://shared");
    const { engine } = await openEngine({ storage });
    const turn = await aTurn(engine);
    const begun = Promise.withResolvers<string>();
    const { replays } = replaysOf(engine, async (id) => begun.resolve(id));
    const request = { turn, recorded: true, id: "once" };
    void replays.replay(groundOf(engine), request).catch(() => {});
    const replayed = await begun.promise;
    expect(names(engine)).toEqual(["main"]);
    // The process is gone: nothing is closed.
    opened.length = 0;
    const after = (await openEngine({ storage, contract: null })).engine;
    await after.turns.restored();
    expect(names(after).sort()).toEqual(["main", `turn/${replayed}`]);
    const reply = await new Replays(new Runs()).replay(groundOf(after), request);
    expect(reply).toMatchObject({
      turn: replayed,
      branch: `turn/${replayed}`,
      recorded: true,
      replay: { kind: "failed", reason: expect.stringContaining("the daemon stopped") },
    });
    expect(names(after).sort()).toEqual(["main", `turn/${replayed}`]);
  });

  test("gets another name when its own was taken while it ran", async () => {
    const { engine } = await openEngine();
    const turn = await aTurn(engine);
    const head = engine.branch(MAIN).head;
    const { runs, replays } = replaysOf(engine, async (id) => {
      await engine.fork("mine" as never, head as Hash);
      runs.ended(await ends(engine, id));
    });
    const reply = await replays.replay(groundOf(engine), { turn, branch: "mine" as never });
    expect(reply).toMatchObject({ branch: "mine-2", same: { kind: true, output: true, snapshot: true } });
    expect(engine.branch("mine-2" as never).head).toBe(reply.replay.commit);
    expect(engine.branch("mine" as never).head).toBe(head);
  });
});

/** Completes a turn as the first one was, and says so as the daemon does. */
async function ends(engine: StateEngine, turn: string) {
  const ended = await engine.turns.complete(turn, Buffer.from("output"));
  return { turn, session: "", branch: MAIN, what: ended.kind, ended };
}
