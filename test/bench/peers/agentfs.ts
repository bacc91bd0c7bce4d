import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import Database from "better-sqlite3";
import { bytesWritten } from "../io.ts";
import { npmPackage } from "../tools/npm-package.ts";
import { type Contestant, keysToFill } from "./contestant.ts";

const VERSION = "0.6.4";

interface AgentFS {
  readonly kv: {
    set(key: string, value: unknown): Promise<void>;
    get(key: string): Promise<unknown>;
  };
  close(): Promise<void>;
}

interface Module {
  readonly AgentFS: { open(options: { readonly path: string }): Promise<AgentFS> };
}

/** AgentFS of npm in this process, as it is set up by itself: its own SQLite, each set a transaction that is synced. */
export async function startAgentFS(folder: string): Promise<Contestant> {
  const { AgentFS } = await npmPackage<Module>("agentfs-sdk", VERSION, "dist/index_node.js");
  await mkdir(folder, { recursive: true });
  const open: AgentFS[] = [];
  return {
    name: `AgentFS ${VERSION}, in process`,
    async lane(keys) {
      const path = join(folder, `${keys}.db`);
      // It makes its tables; then its file is filled by plain SQL, for a set of its own takes half a millisecond.
      await (await AgentFS.open({ path })).close();
      fill(path, keys);
      const agent = await AgentFS.open({ path });
      open.push(agent);
      return {
        put: (key, value) => agent.kv.set(key, textOf(value)),
        get: async (key) => {
          const value = await agent.kv.get(key);
          if (typeof value !== "string") throw new Error(`the key ${key} is missing`);
        },
      };
    },
    written: () => bytesWritten(),
    async stop() {
      for (const agent of open.splice(0)) await agent.close();
    },
  };
}

function fill(path: string, keys: number): void {
  const db = new Database(path);
  const insert = db.prepare<[string, string]>("INSERT INTO kv_store(key, value) VALUES (?, ?)");
  db.exec("BEGIN");
  for (const { key, value } of keysToFill(keys)) insert.run(key, JSON.stringify(textOf(value)));
  db.exec("COMMIT");
  db.pragma("wal_checkpoint(TRUNCATE)");
  db.close();
}

/** It stores JSON: as many bytes of text. */
function textOf(value: Uint8Array): string {
  return Buffer.from(value.buffer, value.byteOffset, value.length / 2).toString("hex");
}
