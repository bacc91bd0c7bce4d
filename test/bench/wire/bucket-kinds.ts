import { createServer, connect, type AddressInfo } from "node:net";
import { join } from "node:path";
import { HubServer } from "../../harness/hub/server.ts";
import { HAS_SWIFT, startSwift } from "../../harness/s3/swift.ts";
import type { Bench } from "../bench.ts";

const TOKEN = "hf_bench";

export interface Traffic {
  readonly up: number;
  readonly down: number;
}

/** A new bucket of a kind, and what goes to it and comes from it. */
export interface BucketPlace {
  readonly kind: "file" | "hf" | "s3";
  readonly uri: string;
  /** What a daemon must know to reach it. */
  readonly env: NodeJS.ProcessEnv;
  /** Bytes on the wire, with headers, since the last call; null: there is no wire. */
  readonly traffic: (() => Traffic) | null;
}

export type OpenPlace = (bench: Bench) => Promise<BucketPlace>;

/** Each kind that can be had here. */
export const PLACES: readonly OpenPlace[] = [openFolder, openHub, ...(HAS_SWIFT ? [openS3] : [])];

async function openFolder(bench: Bench): Promise<BucketPlace> {
  return { kind: "file", uri: `file://${join(await bench.folder(), "bucket")}`, env: {}, traffic: null };
}

/** The strict Hub of the tests: each chunk, hash and token is checked. */
async function openHub(bench: Bench): Promise<BucketPlace> {
  const people = { [TOKEN]: { name: "me", role: "write" } } as const;
  const server = await HubServer.start({ people, folder: join(await bench.folder(), "xorbs") });
  bench.onEnd(() => server.close());
  const env = { HF_TOKEN: TOKEN, HF_ENDPOINT: server.url };
  return { kind: "hf", uri: "hf://buckets/me/bench", env, traffic: () => sum(server.log.take()) };
}

function sum(entries: readonly Traffic[]): Traffic {
  const total = { up: 0, down: 0 };
  for (const { up, down } of entries) {
    total.up += up;
    total.down += down;
  }
  return total;
}

/** OpenStack Swift with its S3 API, behind something that counts. */
async function openS3(bench: Bench): Promise<BucketPlace> {
  const server = await startSwift();
  bench.onEnd(() => server.stop());
  const meter = await startMeter(Number(new URL(server.endpoint).port));
  bench.onEnd(() => meter.close());
  const env = { AWS_ACCESS_KEY_ID: server.accessKeyId, AWS_SECRET_ACCESS_KEY: server.secretAccessKey };
  return { kind: "s3", uri: `s3://bench?endpoint=http://127.0.0.1:${meter.port}`, env, traffic: meter.take };
}

interface Meter {
  readonly port: number;
  readonly take: () => Traffic;
  readonly close: () => void;
}

/** Passes connections on to a port of this machine as they are. */
async function startMeter(to: number): Promise<Meter> {
  let total = { up: 0, down: 0 };
  const server = createServer((from) => {
    const onward = connect(to, "127.0.0.1");
    from.on("data", ({ length }: Buffer) => (total.up += length)).pipe(onward);
    onward.on("data", ({ length }: Buffer) => (total.down += length)).pipe(from);
    from.on("error", () => onward.destroy()).on("close", () => onward.destroy());
    onward.on("error", () => from.destroy()).on("close", () => from.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(0, "127.0.0.1", resolve);
  });
  const take = (): Traffic => {
    const taken = total;
    total = { up: 0, down: 0 };
    return taken;
  };
  return { port: (server.address() as AddressInfo).port, take, close: () => void server.close() };
}
