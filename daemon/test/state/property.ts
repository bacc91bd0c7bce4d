import fc from "fast-check";
import { rounds } from "../../../test/harness/long.ts";

/** Runs a property with a seed that is printed, a third as often in the short run. `VLINDER_SEED=n` runs the same again, `VLINDER_RUNS=n` n times as long. */
export async function holds<T>(what: string, property: fc.IAsyncProperty<T>, numRuns: number): Promise<void> {
  const given = process.env["VLINDER_SEED"];
  const seed = given === undefined ? Math.floor(Math.random() * 0x7fff_ffff) : Number(given);
  process.stdout.write(`${what}: seed ${seed}\n`);
  await fc.assert(property, { seed, numRuns: rounds(numRuns) * Number(process.env["VLINDER_RUNS"] ?? 1) });
}

/** Pseudo-random bytes: the same for the same seed, on every machine (xorshift32). */
export function noise(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let x = Math.imul(seed + 1, 0x9e37_79b9) | 1;
  for (let i = 0; i < length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    bytes[i] = x >>> 11;
  }
  return bytes;
}
