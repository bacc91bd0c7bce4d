import { stat } from "node:fs/promises";
import path from "node:path";
import { sha256 } from "@vlinder/protocol";
import { noise } from "../../daemon/test/state/property.ts";
import type { Stage } from "./stage.ts";
import type { TestDaemon } from "./test-daemon.ts";

export interface Grown {
  /** Of the database, without what SQLite has not moved into it yet, to the last version's size. */
  readonly ratio: number;
  readonly versions: number;
  /** Turns whose version did not come back as it was put. */
  readonly wrong: readonly number[];
  /** For one put. */
  readonly milliseconds: number;
}

/** A value that begins at `bytes` and grows by `step` in each turn; every version is put whole and read at the end. */
export async function growTranscript(
  stage: Stage,
  daemon: TestDaemon,
  { bytes, turns, step }: { readonly bytes: number; readonly turns: number; readonly step: number },
): Promise<Grown> {
  const agent = `grows-${turns}`;
  await stage.register(daemon, agent, 'object_storage = "sqlite://objects.db"\n');
  const vlinder = await stage.sdk(daemon, agent);
  const final = bytes + turns * step;
  const whole = noise(turns, final);
  const states: { state: string; size: number }[] = [];
  const started = performance.now();
  for (let turn = 1; turn <= turns; turn++) {
    const size = bytes + turn * step;
    states.push({ state: (await vlinder.kv.put("/transcript", whole.subarray(0, size))).state, size });
  }
  const milliseconds = (performance.now() - started) / turns;
  const wrong: number[] = [];
  for (const [turn, { state, size }] of states.entries()) {
    const value = await vlinder.at(state).kv.get("/transcript");
    if (value?.hash !== sha256(whole.subarray(0, size)) || sha256(value.bytes) !== value.hash) wrong.push(turn);
  }
  // A stop moves the log into the file.
  await daemon.stop();
  const file = path.join(daemon.home, "agents", agent, "objects.db");
  const { size } = await stat(file);
  await daemon.start();
  return { ratio: size / final, versions: states.length, wrong, milliseconds };
}
