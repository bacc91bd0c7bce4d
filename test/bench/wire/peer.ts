import { connect, type KV, type NatsConnection, StorageType } from "nats";
import { Child } from "./child.ts";
import { knowsSyncAlways, startJetStream } from "./nats-server.ts";

/** What vlinder is compared with: another nats-server of the same version, with an echo and a key-value bucket. */
export interface Peer {
  /** Sends so many bytes, and gets so many back. */
  echo(request: Uint8Array, replyBytes: number): Promise<void>;
  readonly kv: KV;
  /** Durable like vlinder: null where the server can't. */
  readonly kvSyncAlways: KV | null;
  stop(): Promise<void>;
}

export async function startPeer(folder: string): Promise<Peer> {
  const stops: (() => Promise<unknown>)[] = [];
  const bucket = async (sync: "default" | "always"): Promise<{ url: string; connection: NatsConnection; kv: KV }> => {
    const server = await startJetStream(folder, sync);
    stops.push(() => server.stop());
    const connection = await connect({ servers: server.url, noAsyncTraces: true });
    stops.push(() => connection.close());
    const kv = await connection.jetstream().views.kv("bench", { storage: StorageType.File });
    return { url: server.url, connection, kv };
  };
  const { url, connection, kv } = await bucket("default");
  const kvSyncAlways = (await knowsSyncAlways()) ? (await bucket("always")).kv : null;
  const responder = await Child.start("echo-process.ts", [url]);
  stops.push(() => responder.stop());
  return {
    kv,
    kvSyncAlways,
    echo: async (request, replyBytes) => {
      await connection.request(`echo.${replyBytes}`, request, { timeout: 10_000 });
    },
    stop: async () => {
      for (const stop of stops.splice(0).toReversed()) await stop();
    },
  };
}
