import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sha256 } from "@vlinder/protocol";
import { Trial } from "./trial-run.ts";

/*
 * One trial by itself: `node daemon/test/sync/trial/main.ts SEED [OPERATIONS] [encrypt]`. Says all that it knows; where the machines do not
 * end with one memory, their homes and the bucket are kept and named, and the exit code is 1.
 */

const [seed = "1", operations = "1000", encrypt = ""] = process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), "vlinder-trial-"));
const say = (what: unknown): void =>
  void process.stdout.write(`${typeof what === "string" ? what : JSON.stringify(what, null, 2)}\n`);
try {
  const options = { seed: Number(seed), folder, operations: Number(operations), encrypt: encrypt === "encrypt" };
  const { kinds, fired, notes, reports, drills, missing, ...counts } = await new Trial(options).run();
  say({ ...counts, kinds: Object.fromEntries(kinds), fired: Object.fromEntries(fired), notes: [...notes] });
  say({
    reports: reports.map((one) => ({ ...one, heads: sha256(one.heads) })),
    drills: drills.map(({ ok, found }) => (ok ? ok : found)),
    missing: missing.map(({ length }) => length),
  });
  const isOne = new Set(reports.map(({ heads }) => heads)).size === 1;
  if (
    !isOne ||
    missing.flat().length > 0 ||
    reports.some(({ damage }) => damage.length > 0) ||
    drills.some(({ ok }) => !ok)
  )
    throw new Error("not one memory");
  await rm(folder, { recursive: true });
} catch (error) {
  say(`seed ${seed} failed; its machines and bucket are in ${folder}`);
  say(String((error as Error).stack));
  process.exitCode = 1;
}
