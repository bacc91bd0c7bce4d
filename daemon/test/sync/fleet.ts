import type { Bucket } from "../../src/sync/buckets/bucket.ts";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { type AgentListing, listAgent } from "../../src/sync/listing.ts";
import { TestClock } from "../state/harness.ts";
import { IS_LONG } from "../../../test/harness/long.ts";
import { FaultyBucket, type Outcome } from "./faulty-bucket.ts";
import { Machine, tempBucket, TODO } from "./machine.ts";

export const DAY = 24 * 3_600_000;
export const GRACE = 7 * DAY;

/** Machines on one bucket that merge when there are over four packs; time stands still between ticks. */
export class Fleet {
  readonly clock = new TestClock();
  readonly uri: string;
  readonly #over: number;

  private constructor(uri: string, over: number) {
    this.uri = uri;
    this.#over = over;
  }

  static async start(over = 4): Promise<Fleet> {
    return new Fleet(await tempBucket(), over);
  }

  async machine(over = this.#over): Promise<Machine> {
    const machine = await Machine.start({ packs: { over, grace: GRACE }, now: this.clock.now });
    await machine.sync.init(this.uri);
    return machine;
  }

  /** A new machine that has what the bucket has. */
  async clone(): Promise<Machine> {
    const machine = await this.machine();
    await machine.syncAll();
    return machine;
  }

  async listing(): Promise<AgentListing> {
    return await listAgent(await openBucket(this.uri), TODO);
  }
}

/** Pushes `count` commits one by one. */
export async function pushes(machine: Machine, count: number, name = machine.device.slice(0, 4)): Promise<void> {
  for (let i = 0; i < count; i++) {
    machine.todo.put(`/${name}/${i}`, `${name} ${i}`);
    await machine.syncAll();
  }
}

/** The same home, with a machine that merges from now on. */
export async function eager(machine: Machine): Promise<void> {
  machine.packs = { over: 4, grace: GRACE };
  await machine.restart();
}

export const OUTCOMES: readonly Outcome[] = ["kill before", "kill after"];

/** Runs one operation with one fault at call `n`; false when there was no such call. */
export async function withFault(
  machine: Machine,
  n: number,
  outcome: Outcome,
  work: () => Promise<unknown>,
): Promise<boolean> {
  const buckets: FaultyBucket[] = [];
  let calls = 0;
  machine.wrap = (bucket: Bucket) => {
    // Whether one dies before or after it has read makes no difference to the others.
    const counts = (method: string): boolean => IS_LONG || method === "put" || method === "delete";
    const faulty = new FaultyBucket(bucket, ({ method }) => (counts(method) && ++calls === n ? outcome : "fine"));
    buckets.push(faulty);
    return faulty;
  };
  await work().catch(() => undefined);
  machine.wrap = (bucket) => bucket;
  return buckets.some(({ fired }) => fired > 0);
}
