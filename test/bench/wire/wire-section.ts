import { encodeBody } from "@vlinder/protocol";
import type { Bench } from "../bench.ts";
import { inFlight, oneAtATime, Rounds } from "../measure.ts";
import { aim, milliseconds, perSecond } from "../report.ts";
import { anyKey, keyAt, Values } from "../values.ts";
import { connectAs, PlainClient } from "./plain-client.ts";

const AGENT = "bench";
const KEYS = 1000;
const FLIGHT = 64;
const WHO = ["vlinder", "plain", "jetstream", "always", "echo"] as const;
type Who = (typeof WHO)[number];
type Op = "put" | "get";
type Name = `${Who} ${Op} ${"p50" | "p99" | "rate"}`;

const NAMES: Readonly<Record<Who, string>> = {
  vlinder: "vlinder, agent-runtime",
  plain: "vlinder, plain NATS client, one message each",
  jetstream: "JetStream KV, default sync",
  always: "JetStream KV, sync always",
  echo: "NATS echo of the same sizes",
};

/** Puts and gets over NATS against what a NATS server does by itself. */
export async function wireSection(bench: Bench): Promise<void> {
  const [daemon, peer] = [await bench.daemon(), await bench.peer()];
  await daemon.register(AGENT);
  const vlinder = await daemon.connect(AGENT);
  const plain = new PlainClient(await connectAs(daemon.home, AGENT), AGENT);
  bench.onEnd(() => plain.connection.close());
  const values = new Values();
  bench.progress("wire: filling");
  const name = (key: string): string => key.slice(1).replaceAll("/", ".");
  for (let n = 0; n < KEYS; n++) await peer.kv.put(name(keyAt(n)), values.next());
  for (let n = 0; n < KEYS; n++) await peer.kvSyncAlways?.put(name(keyAt(n)), values.next());
  await Promise.all(Array.from({ length: KEYS }, (_, n) => vlinder.kv.put(keyAt(n), values.next())));

  const reply = await plain.get(keyAt(0));
  const sizes = {
    put: [
      encodeBody({ key: keyAt(0), value: values.next(), id: "i".repeat(22) }, "msgpack"),
      hashesOnly(reply),
    ] as const,
    get: [encodeBody({ key: keyAt(0) }, "msgpack"), encodeBody(reply, "msgpack").length] as const,
  };
  const key = (): string => anyKey(KEYS);
  const always = peer.kvSyncAlways;
  const work: Record<Who, Record<Op, () => Promise<unknown>> | null> = {
    vlinder: { put: () => vlinder.kv.put(key(), values.next()), get: () => vlinder.kv.get(key()) },
    plain: { put: () => plain.put(key(), values.next()), get: () => plain.get(key()) },
    jetstream: { put: () => peer.kv.put(name(key()), values.next()), get: () => peer.kv.get(name(key())) },
    always: always && { put: () => always.put(name(key()), values.next()), get: () => always.get(name(key())) },
    echo: { put: () => peer.echo(...sizes.put), get: () => peer.echo(...sizes.get) },
  };

  const rounds = new Rounds<Name>();
  // A first round that is not counted: compilers and caches.
  for (let round = 0; round <= bench.rounds; round++) {
    bench.progress(round === 0 ? "wire: warming up" : `wire: round ${round} of ${bench.rounds}`);
    const slot = round === 0 ? bench.slot / 2 : bench.slot;
    for (const op of ["put", "get"] as const) {
      for (const who of WHO) {
        const once = work[who]?.[op];
        if (once === undefined) continue;
        const { p50, p99 } = await oneAtATime(slot, once);
        const rate = await inFlight(FLIGHT, slot, once);
        if (round === 0) continue;
        rounds.add(`${who} ${op} p50`, p50);
        rounds.add(`${who} ${op} p99`, p99);
        rounds.add(`${who} ${op} rate`, rate);
      }
    }
  }
  report(bench, rounds, always !== null);
}

/** About the reply of a put: what a get answers, without the value. */
function hashesOnly({ state, hash }: { readonly state: string; readonly hash: string }): number {
  return encodeBody({ state, hash }, "msgpack").length;
}

function report(bench: Bench, rounds: Rounds<Name>, always: boolean): void {
  const section = "wire";
  const rate = (what: string, a: `${Who} ${Op}`, b: `${Who} ${Op}`, least: number): void =>
    bench.report.ratio({
      section,
      what,
      value: rounds.ratio(`${a} rate`, `${b} rate`),
      of: `${perSecond(rounds.median(`${a} rate`))} / ${perSecond(rounds.median(`${b} rate`))}`,
      limit: aim("at least", least),
    });
  const latency = (what: string, a: `${Who} ${Op}`, b: `${Who} ${Op}`, most: number | null): void =>
    bench.report.ratio({
      section,
      what,
      value: rounds.ratio(`${a} p50`, `${b} p50`),
      of: `${milliseconds(rounds.median(`${a} p50`))} / ${milliseconds(rounds.median(`${b} p50`))}`,
      limit: most === null ? null : aim("at most", most),
    });
  rate("durable puts, 64 in flight, to JetStream KV (which does not fsync)", "vlinder put", "jetstream put", 1);
  rate("gets, 64 in flight, to JetStream KV", "vlinder get", "jetstream get", 3);
  rate("durable puts, one message each, 64 in flight, to JetStream KV", "plain put", "jetstream put", 0.6);
  latency("get, one at a time, p50 to a NATS echo", "vlinder get", "echo get", 1.2);
  latency(
    "durable put, one at a time, p50 to JetStream KV (which does not fsync)",
    "vlinder put",
    "jetstream put",
    null,
  );
  if (always) {
    rate("durable puts, 64 in flight, to JetStream KV with sync always", "vlinder put", "always put", 3);
    latency("durable put, one at a time, p50 to JetStream KV with sync always", "vlinder put", "always put", 1.5);
  }
  const times = (who: Who, op: Op): string =>
    `${milliseconds(rounds.median(`${who} ${op} p50`))} / ${milliseconds(rounds.median(`${who} ${op} p99`))}`;
  bench.report.table({
    section,
    title: "Over NATS, values of 256 B",
    columns: ["", "put p50 / p99", "puts, 64 in flight", "get p50 / p99", "gets, 64 in flight"],
    rows: WHO.filter((who) => who !== "always" || always).map((who) => [
      NAMES[who],
      times(who, "put"),
      perSecond(rounds.median(`${who} put rate`)),
      times(who, "get"),
      perSecond(rounds.median(`${who} get rate`)),
    ]),
    notes: [
      "Daemon, its nats-server, the peers' nats-server and the echo's responder are processes on this machine. vlinder " +
        "puts are durable (fsync) before they are answered and keep every version; JetStream KV with its default sync " +
        `keeps the last one and fsyncs every two minutes.${always ? "" : " This nats-server has no `sync_interval: always` (2.10 and newer do), so there is no row for it."}`,
    ],
  });
}
