import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { bytesWritten } from "../io.ts";
import { npmPackage } from "../tools/npm-package.ts";
import type { RedisProgram } from "../tools/redis-server.ts";
import { type Contestant, keysToFill } from "./contestant.ts";
import { Lanes } from "./lane.ts";
import { measureLane } from "./measure-lane.ts";

const VERSION = "6.3.1";
const FILL = 1000;

interface Client {
  connect(): Promise<unknown>;
  on(event: "error", listener: (error: unknown) => void): unknown;
  set(key: string, value: Buffer): Promise<unknown>;
  get(key: string): Promise<unknown>;
  mSet(pairs: readonly (readonly [string, Buffer])[]): Promise<unknown>;
  withTypeMapping(types: Readonly<Record<number, unknown>>): Client;
  destroy(): void;
}

interface Module {
  readonly RESP_TYPES: { readonly BLOB_STRING: number };
  readonly createClient: (options: object) => Client;
}

/** A redis-server with an append-only file, and the usual client of npm, which pipelines what is in flight. */
export async function startRedis(
  { file, env, version }: RedisProgram,
  folder: string,
  fsync: "always" | "everysec",
): Promise<Contestant> {
  const { createClient, RESP_TYPES } = await npmPackage<Module>("@redis/client", VERSION, "dist/index.js");
  await mkdir(folder, { recursive: true });
  const port = await freePort();
  const settings = { port, bind: "127.0.0.1", dir: folder, save: "", appendonly: "yes", appendfsync: fsync };
  const args = Object.entries({ ...settings, "auto-aof-rewrite-percentage": 0 });
  const child = spawn(
    file,
    args.flatMap(([name, value]) => [`--${name}`, String(value)]),
    { env, stdio: "ignore" },
  );
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  const clients: Client[] = [];
  const sizes: number[] = [];
  const lanes = new Lanes(async (keys) => {
    const client = createClient({ socket: { host: "127.0.0.1", port }, database: sizes.push(keys) - 1 });
    client.on("error", () => {}); // what is asked for rejects
    clients.push(client);
    await reached(() => client.connect());
    await fill(client, keys);
    const binary = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    return {
      put: (key, value) => client.set(key, asBuffer(value)),
      get: async (key) => {
        if ((await binary.get(key)) === null) throw new Error(`the key ${key} is missing`);
      },
    };
  });
  const written = (): number => (child.pid === undefined ? Number.NaN : bytesWritten(child.pid));
  return {
    name: `Redis ${version}, appendfsync ${fsync}`,
    measure: async (task) => measureLane(await lanes.at(task.keys), written, task),
    async stop() {
      for (const client of clients.splice(0)) client.destroy();
      child.kill("SIGKILL");
      await ended;
    },
  };
}

async function fill(client: Client, keys: number): Promise<void> {
  let pairs: [string, Buffer][] = [];
  for (const { key, value } of keysToFill(keys)) {
    if (pairs.push([key, asBuffer(value)]) < FILL) continue;
    await client.mSet(pairs);
    pairs = [];
  }
  if (pairs.length > 0) await client.mSet(pairs);
}

function asBuffer(value: Uint8Array): Buffer {
  return Buffer.from(value.buffer, value.byteOffset, value.length);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The server may not listen yet. */
async function reached(connect: () => Promise<unknown>): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await connect();
      return;
    } catch (error) {
      if (attempt === 50) throw error;
      await sleep(100);
    }
  }
}
