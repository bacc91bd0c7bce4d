import { cp } from "node:fs/promises";
import { join } from "node:path";
import type { Bench } from "../bench.ts";
import { figure } from "../figures.ts";
import { knowsSyncAlways } from "../tools/nats-server.ts";
import { chooseRedisServer } from "../tools/redis-server.ts";
import { startAgentFS } from "./agentfs.ts";
import { type Optional, optional } from "./contestant.ts";
import { JetStream } from "./jetstream.ts";
import { startRedis } from "./redis.ts";

/** What vlinder is measured against, over states of these sizes. */
export interface Peers {
  readonly jetstream: JetStream;
  readonly always: Optional;
  readonly everysec: Optional;
  readonly redisAlways: Optional;
  readonly agentfs: Optional;
}

export async function startPeers(bench: Bench, sizes: readonly number[]): Promise<Peers> {
  const folder = await bench.folder();
  const stores = { default: join(folder, "jetstream"), always: join(folder, "jetstream-always") };
  await fillJetStream(bench, stores.default, sizes);
  const { version } = bench.natsServer;
  const canSync = knowsSyncAlways(bench.natsServer);
  // Filled once: with a sync for each key it would take many minutes.
  if (canSync) await cp(stores.default, stores.always, { recursive: true });
  const jetstream = await JetStream.start("JetStream KV, default sync", stores.default, "default");
  bench.onEnd(() => jetstream.stop());
  const say = (line: string): void => bench.progress(`peers: ${line}`);
  const started = async (start: Parameters<typeof optional>[0]): Promise<Optional> => {
    const found = await optional(start);
    if ("peer" in found) bench.onEnd(() => found.peer.stop());
    else say(`left out: ${found.missing}`);
    return found;
  };
  const redis = (fsync: "always" | "everysec"): Promise<Optional> =>
    started(async () => startRedis(await chooseRedisServer(say), join(folder, `redis-${fsync}`), fsync));
  return {
    jetstream,
    always: canSync
      ? await started(() => JetStream.start("JetStream KV, sync always", stores.always, "always"))
      : { missing: `nats-server ${version} has no \`sync_interval: always\`; 2.10 and newer do` },
    everysec: await redis("everysec"),
    redisAlways: await redis("always"),
    agentfs: await started(() => startAgentFS(join(folder, "agentfs"))),
  };
}

async function fillJetStream(bench: Bench, store: string, sizes: readonly number[]): Promise<void> {
  const filling = await JetStream.start("filling", store, "default");
  try {
    for (const keys of sizes) {
      await filling.fill(keys, (done) => {
        bench.progress(`peers: JetStream KV of ${figure(keys)} keys: ${figure(done)}`);
      });
    }
  } finally {
    await filling.stop();
  }
}
