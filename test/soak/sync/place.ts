import { mkdir } from "node:fs/promises";
import path from "node:path";
import { readdirSync } from "node:fs";
import { HubServer } from "../../harness/hub/server.ts";
import type { Stage } from "../../harness/stage.ts";
import { bytesBelow } from "./figures.ts";

const TOKEN = "hf_writer";

/** What is in the bucket. */
export interface Contents {
  readonly packs: number;
  /** Of the packs so many are replaced, and wait for their grace to be over. */
  readonly replaced: number;
  readonly heads: number;
  /** On the disk of the bucket. */
  readonly bytes: number;
}

/** The bucket that the machines of a soak share. */
export interface Place {
  readonly uri: string;
  /** For daemons. */
  readonly environment: Readonly<Record<string, string>>;
  contents(): Contents;
  /** What the service refused though nothing was to be refused. */
  refused(): readonly string[];
  close(): Promise<void>;
}

export async function folderPlace(stage: Stage): Promise<Place> {
  const folder = await stage.path("bucket");
  await mkdir(folder);
  return {
    uri: `file://${folder}`,
    environment: {},
    contents: () => contentsOf(readdirSync(folder, { recursive: true }) as string[], bytesBelow(folder)),
    refused: () => [],
    close: async () => {},
  };
}

/** The strict Hub. */
export async function hubPlace(stage: Stage): Promise<Place> {
  const folder = await stage.path("xorbs");
  await mkdir(folder);
  const server = await HubServer.start({ people: { [TOKEN]: { name: "me", role: "write" } }, folder });
  const refused: string[] = [];
  const look = (): readonly string[] => {
    for (const { route, path: asked, status, note } of server.log.take()) {
      if ([400, 405, 413, 415, 416].includes(status)) refused.push(`${route} ${asked}: ${status} ${note}`);
    }
    return refused;
  };
  return {
    uri: "hf://buckets/me/vault",
    environment: { HF_ENDPOINT: server.url, HF_TOKEN: TOKEN },
    contents: () => {
      look();
      return contentsOf(
        (server.buckets.get("me/vault")?.list() ?? []).map(({ path: one }) => one),
        bytesBelow(folder),
      );
    },
    refused: look,
    close: () => server.close(),
  };
}

function contentsOf(paths: readonly string[], bytes: number): Contents {
  const names = new Set(paths.map((one) => path.basename(one)));
  const packs = [...names].filter((name) => name.endsWith(".pack"));
  const replaced = packs.filter((name) => names.has(name.replace(/pack$/, "dropped"))).length;
  const heads = paths.filter((one) => one.includes("/heads/") && one.endsWith(".json")).length;
  return { packs: packs.length, replaced, heads, bytes };
}
