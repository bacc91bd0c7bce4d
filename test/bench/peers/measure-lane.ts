import { inFlight, type Latency, oneAtATime } from "../measure.ts";
import { anyBigKey, anyKey, BIG_BYTES, Values } from "../values.ts";
import type { Lane } from "./lane.ts";

const FLIGHT = 64;

export interface Task {
  readonly op: "put" | "get";
  /** How many keys there are, and how large the values are that are worked on. */
  readonly keys: number;
  readonly valueBytes: number;
  /** Milliseconds for one at a time, and as many for 64 in flight. */
  readonly slot: number;
}

export interface Measured extends Latency {
  readonly perSecond: number;
  /** Of those in flight: how many, and the bytes that were sent to the disk meanwhile. */
  readonly count: number;
  readonly written: number;
}

/** One at a time, then 64 in flight. */
export async function measureLane(lane: Lane, written: () => number, task: Task): Promise<Measured> {
  const { op, keys, valueBytes, slot } = task;
  const values = new Values(valueBytes);
  const key = (): string => (valueBytes === BIG_BYTES ? anyBigKey(keys) : anyKey(keys));
  const once = op === "put" ? () => lane.put(key(), values.next()) : () => lane.get(key());
  const latency = await oneAtATime(slot, once);
  const before = written();
  const { count, perSecond } = await inFlight(FLIGHT, slot, once);
  return { ...latency, perSecond, count, written: written() - before };
}
