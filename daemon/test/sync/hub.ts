import { randomBytes } from "node:crypto";
import { onTestFinished } from "vitest";
import type { HubServerOptions } from "../../../test/harness/hub/server.ts";
import { HubServer } from "../../../test/harness/hub/server.ts";
import type { Bucket } from "../../src/sync/buckets/bucket.ts";
import { type HfBucketOptions, openHfBucket } from "../../src/sync/buckets/hf.ts";
import type { HttpLimits } from "../../src/sync/buckets/http-limits.ts";

export const URI = "hf://buckets/me/vault";
export const TOKEN = "hf_writer";

/** As in life, but with pauses that a test can wait for. */
export const QUICK: Partial<HttpLimits> = { pause: 2, tries: 3 };

export interface Hub {
  readonly server: HubServer;
  readonly env: NodeJS.ProcessEnv;
  /** Opens the bucket, as another machine would. */
  readonly open: (uri?: string, options?: HfBucketOptions) => Promise<Bucket>;
}

/** A strict Hub; what it refused without a fault being injected fails the test, unless `forgive` is called. */
export async function startHub(options: HubServerOptions = {}): Promise<Hub & { forgive: () => void }> {
  const people = { [TOKEN]: { name: "me", role: "write" } } as const;
  const server = await HubServer.start({ people, ...options });
  const env = { HF_TOKEN: TOKEN, HF_ENDPOINT: server.url };
  const opened: Bucket[] = [];
  let isForgiven = false;
  onTestFinished(async () => {
    for (const bucket of opened) await bucket.close();
    await server.close();
    const refused = server.log.entries.filter(({ status }) => [400, 405, 413, 415, 416].includes(status));
    if (server.failures.length > 0) throw new AggregateError(server.failures, "the server failed");
    if (refused.length > 0 && !isForgiven) throw new Error(`refused: ${JSON.stringify(refused)}`);
  });
  const open: Hub["open"] = async (uri = URI, more = {}) => {
    const bucket = await openHfBucket(uri, { create: true, env, limits: QUICK, ...more });
    opened.push(bucket);
    return bucket;
  };
  return { server, env, open, forgive: () => void (isForgiven = true) };
}

/** Bytes that no compression makes smaller. */
export function someBytes(length: number): Buffer {
  return randomBytes(length);
}

export async function listed(bucket: Bucket, prefix = ""): Promise<string[]> {
  const paths: string[] = [];
  for await (const { path } of bucket.list(prefix)) paths.push(path);
  return paths.toSorted();
}
