import { connect, type Vlinder } from "@vlinder/agent-runtime";
import { connectAs, PlainClient } from "./plain-client.ts";
import { anyKey, Values } from "../values.ts";

/**
 * Puts without end while it is told to: `start`, and `stop` answers how many there were. `plain` writers send
 * one message a put; `sdk` ones share messages; `batch` ones change 1,000 keys in each.
 */
const [home, agent, kind, count, keys] = process.argv.slice(2) as [string, string, string, string, string];
const values = new Values();
let running = false;
let done = 0;
let lanes: Promise<unknown>[] = [];

const key = (): string => anyKey(Number(keys));

async function work(): Promise<() => Promise<unknown>> {
  if (kind === "plain") {
    const client = new PlainClient(await connectAs(home, agent), agent);
    return () => client.put(key(), values.next());
  }
  const vlinder: Vlinder = await connect({ home, agent });
  if (kind === "sdk") return () => vlinder.kv.put(key(), values.next());
  return () => {
    const all = new Set(Array.from({ length: 1000 }, key));
    return vlinder.kv.batch([...all].map((one) => ({ op: "put", key: one, value: values.next() })));
  };
}

const once = await work();

async function lane(): Promise<void> {
  while (running) {
    await once();
    done++;
  }
}

function start(): void {
  running = true;
  done = 0;
  lanes = Array.from({ length: Number(count) }, lane);
  process.send?.("started");
}

async function stop(): Promise<void> {
  running = false;
  await Promise.all(lanes);
  process.send?.(done);
}

process.on("message", (message) => {
  if (message === "start") start();
  else void stop();
});
process.on("disconnect", () => process.exit());
process.send?.("ready");
