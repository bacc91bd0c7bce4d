import { encodeBody } from "@vlinder/protocol";
import type { Bench } from "../bench.ts";
import { bytesWritten } from "../io.ts";
import type { Contestant } from "../peers/contestant.ts";
import { Echo } from "../peers/echo.ts";
import type { JetStream } from "../peers/jetstream.ts";
import type { Lane } from "../peers/lane.ts";
import { measureLane, type Task } from "../peers/measure-lane.ts";
import { BIG_BYTES, bigKeyAt, keyAt, VALUE_BYTES, Values } from "../values.ts";
import { Daemon } from "./daemon.ts";
import { connectAs, PlainClient } from "./plain-client.ts";

interface VlinderLanes {
  readonly sdk: Lane;
  readonly plain: Lane;
  /** Requests and replies of the size of the plain client's; by the value's size. */
  readonly echoes: ReadonlyMap<number, Lane>;
}

/** vlinder through its SDK and without it, and what of that is NATS's. */
export interface VlinderContestants {
  readonly sdk: Contestant;
  readonly plain: Contestant;
  readonly echo: Contestant;
}

/** Serves states of these sizes by the shared daemon. */
export async function vlinderContestants(
  bench: Bench,
  jetstream: JetStream,
  sizes: readonly number[],
): Promise<VlinderContestants> {
  const daemon = await bench.daemon();
  const echo = await Echo.beside(jetstream);
  bench.onEnd(() => echo.stop());
  const byKeys = new Map<number, VlinderLanes>();
  for (const keys of sizes) {
    const { agent } = await bench.states.withKeys(keys);
    await bench.states.copyOf(keys, Daemon.fileOf(daemon.home, agent));
    await daemon.register(agent);
    byKeys.set(keys, await lanesOf(bench, daemon, echo, agent, keys));
  }
  const contestant = (
    name: string,
    written: () => number,
    lane: (lanes: VlinderLanes, task: Task) => Lane | undefined,
  ): Contestant => ({
    name,
    measure: (task) => {
      const lanes = byKeys.get(task.keys);
      const found = lanes && lane(lanes, task);
      if (found === undefined) throw new Error(`there is no state of ${task.keys} keys`);
      return measureLane(found, written, task);
    },
    stop: () => Promise.resolve(),
  });
  const written = (): number => bytesWritten(daemon.pid);
  return {
    sdk: contestant("vlinder, agent-runtime", written, ({ sdk }) => sdk),
    plain: contestant("vlinder, plain NATS client, one message each", written, ({ plain }) => plain),
    echo: contestant(
      "NATS echo of the same sizes",
      () => Number.NaN,
      ({ echoes }, { valueBytes }) => echoes.get(valueBytes),
    ),
  };
}

async function lanesOf(bench: Bench, daemon: Daemon, echo: Echo, agent: string, keys: number): Promise<VlinderLanes> {
  const { kv } = await daemon.connect(agent);
  const connection = await connectAs(daemon.home, agent);
  bench.onEnd(() => connection.close());
  const plain = new PlainClient(connection, agent);
  const echoes = new Map<number, Lane>();
  for (const [bytes, key] of [[VALUE_BYTES, keyAt(0)] as const, [BIG_BYTES, bigKeyAt(0, keys)] as const]) {
    const reply = await plain.get(key);
    const { state, hash } = reply;
    const put = encodeBody({ key, value: new Values(bytes).next(), id: "i".repeat(22) }, "msgpack");
    const get = encodeBody({ key }, "msgpack");
    // The reply of a put is about that of a get without the value.
    const [putReply, getReply] = [{ state, hash }, reply].map((body) => encodeBody(body, "msgpack").length);
    echoes.set(bytes, {
      put: () => echo.send(put, putReply as number),
      get: () => echo.send(get, getReply as number),
    });
  }
  return {
    sdk: {
      put: (key, value) => kv.put(key, value),
      get: async (key) => {
        if ((await kv.get(key)) === null) throw new Error(`the key ${key} is missing`);
      },
    },
    plain,
    echoes,
  };
}
