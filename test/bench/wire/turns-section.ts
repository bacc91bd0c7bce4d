import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type Hash, type Key, MAIN, parseKey, sha256 } from "@vlinder/protocol";
import type { OpenTurn } from "../../../daemon/src/state/turns/open-turn.ts";
import type { Bench } from "../bench.ts";
import { figure, milliseconds, perSecond } from "../figures.ts";
import { median, oneAtATime, Rounds, timesOf } from "../measure.ts";
import { Echo } from "../peers/echo.ts";
import { EngineStore } from "../states/engine-store.ts";
import { anyKey, keyAt, Values } from "../values.ts";

const KEYS = 10_000;
/** Puts and as many gets of one turn. */
const PAIRS = 20;
/** What one page of SQLite's log is. */
const PAGE = Buffer.alloc(4096, 1);
const AGENT = "turns";

type Name = "turn" | "echo" | "fsync" | "budget" | "noted" | "unnoted";

/** A turn as an agent has it, and what it costs to note what it reads. */
export async function turnsSection(bench: Bench): Promise<void> {
  const rounds = new Rounds<Name>();
  await measureTurns(bench, rounds);
  await measureNotes(bench, rounds);
  const [turn, budget] = [rounds.median("turn"), rounds.median("budget")];
  const section = "turns";
  bench.report.ratio(
    section,
    "turn/echo-and-fsync",
    rounds.ratio("turn", "budget"),
    `${milliseconds(turn)} / ${milliseconds(budget)}`,
  );
  const [noted, unnoted] = [rounds.median("noted"), rounds.median("unnoted")];
  bench.report.ratio(
    section,
    "reads-noted",
    rounds.ratio("noted", "unnoted"),
    `${perSecond(noted)} / ${perSecond(unnoted)}`,
  );
  bench.report.table({
    section,
    title: `A turn of ${PAIRS} puts and ${PAIRS} gets, one after another, over ${figure(KEYS)} keys`,
    columns: [
      "the turn, p50",
      "NATS echo p50",
      "fdatasync of 4 KiB p50",
      "that is",
      "kv in a turn, in process",
      "reads not noted",
    ],
    rows: [
      [
        milliseconds(turn),
        milliseconds(rounds.median("echo")),
        milliseconds(rounds.median("fsync")),
        `${figure(turn / rounds.median("echo"))} echoes`,
        perSecond(noted),
        perSecond(unnoted),
      ],
    ],
    notes: [
      "A turn is begun and completed by messages of their own: 42 round trips, of which the last waits for the disk.",
    ],
  });
}

async function measureTurns(bench: Bench, rounds: Rounds<Name>): Promise<void> {
  const daemon = await bench.daemon();
  const folder = await bench.folder();
  const echo = await Echo.apart(join(folder, "echo"));
  bench.onEnd(() => echo.stop());
  await daemon.register(AGENT);
  const vlinder = await daemon.connect(AGENT);
  const values = new Values();
  for (let from = 0; from < KEYS; from += 1000) {
    const some = Array.from({ length: 1000 }, (_, i) => keyAt(from + i));
    await vlinder.kv.batch(some.map((key) => ({ op: "put", key, value: values.next() })));
  }
  /** What each of so many turns took. What they put and ask for is made before. */
  const timesOfTurns = async (count: number): Promise<number[]> => {
    const times: number[] = [];
    for (let i = 0; i < count; i++) {
      const pairs = Array.from({ length: PAIRS }, () => [anyKey(KEYS), values.next(), anyKey(KEYS)] as const);
      const started = performance.now();
      const open = await vlinder.begin({ input: "do it" });
      for (const [put, value, get] of pairs) {
        await open.kv.put(put, value);
        await open.kv.get(get);
      }
      await open.complete("done");
      times.push(performance.now() - started);
    }
    return times;
  };
  const file = openSync(join(folder, "fsync"), "w");
  bench.onEnd(() => closeSync(file));
  const fsync = async (): Promise<void> => {
    writeSync(file, PAGE);
    fdatasyncSync(file);
  };
  // What a daemon runs the first time it runs slowly: docs/performance.md says how long.
  await timesOfTurns(bench.scale(100, 5));
  // Short rounds, and many: what else is on the machine is slow for all that one of them compares. Echoes and turns have about as long, 0.3 s: the
  // first of each after a while without any takes longer.
  const count = 5 * bench.rounds;
  for (let round = 1; round <= count; round++) {
    bench.progress(`turns: round ${round} of ${count}`);
    const { p50 } = await oneAtATime(bench.slot / 2, () => echo.send(new Uint8Array(64), 300));
    const sync = median(await timesOf(bench.scale(20, 10), fsync));
    rounds.add("echo", p50);
    rounds.add("fsync", sync);
    rounds.add("budget", 60 * p50 + 5 * sync);
    rounds.add("turn", median(await timesOfTurns(bench.scale(16, 3))));
  }
}

/** In process, where what surrounds them does not hide the notes. */
async function measureNotes(bench: Bench, rounds: Rounds<Name>): Promise<void> {
  const { middle } = bench.sizes;
  const { path, agent } = await bench.states.copyOf(middle, join(await bench.folder(), "notes.db"));
  const store = await EngineStore.open(path, agent);
  const { turns } = store.engine;
  const values = new Values();
  const pairs = bench.scale(10_000, 2000);
  /** Puts and gets a second, with the end of the turn, which stores the notes. */
  const once = async (noted: boolean): Promise<number> => {
    const { turn } = await turns.begin({ branch: MAIN });
    const open = turns.required(turn);
    if (!noted) Object.assign(open.trace.reads, { saw: () => {} });
    const started = performance.now();
    for (let i = 0; i < pairs; i++) {
      await put(open, parseKey(anyKey(middle)), values.next());
      await open.find(parseKey(anyKey(middle)));
    }
    await turns.complete(turn, null);
    return (2 * pairs * 1000) / (performance.now() - started);
  };
  for (let round = 0; round <= 2 * bench.rounds; round++) {
    bench.progress(`turns: notes, round ${round} of ${2 * bench.rounds}`);
    // Each leaves work behind for the one after it.
    const order = round % 2 === 0 ? [true, false] : [false, true];
    for (const noted of order) {
      const perSecondNow = await once(noted);
      if (round > 0) rounds.add(noted ? "noted" : "unnoted", perSecondNow);
    }
  }
  await store.close();
}

async function put(turn: OpenTurn, key: Key, bytes: Uint8Array): Promise<Hash> {
  const ops = [{ key, value: { hash: sha256(bytes), bytes } }];
  return (await turn.write({ space: "kv", kind: "kv.put", branch: MAIN, ops })).state;
}
