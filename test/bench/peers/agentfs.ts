import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import Database from "better-sqlite3";
import { Child } from "../child.ts";
import { type Contestant, keysToFill } from "./contestant.ts";
import { AGENTFS_VERSION, loadAgentFS, textOf } from "./agentfs-package.ts";
import type { Measured, Task } from "./measure-lane.ts";

/**
 * AgentFS of npm as it sets itself up: its own SQLite, each set a transaction that is synced. It is called in
 * process, in one that is started for it: what goes wrong in its native part ends that one alone.
 */
export async function startAgentFS(folder: string): Promise<Contestant> {
  await loadAgentFS();
  await mkdir(folder, { recursive: true });
  const children = new Map<number, Promise<Child>>();
  const start = async (keys: number): Promise<Child> => {
    const path = join(folder, `${keys}.db`);
    // It makes its tables; then plain SQL fills them, since a set of each key would take half a millisecond.
    await (await Child.start("peers/agentfs-process.ts", [path])).stop();
    fill(path, keys);
    return await Child.start("peers/agentfs-process.ts", [path]);
  };
  return {
    name: `AgentFS ${AGENTFS_VERSION}, in process`,
    async measure(task: Task) {
      const child = children.get(task.keys) ?? start(task.keys);
      children.set(task.keys, child);
      const found = await (await child).ask(task);
      if (typeof found === "string") throw new Error(found);
      return found as Measured;
    },
    async stop() {
      for (const child of await Promise.allSettled(children.values())) {
        if (child.status === "fulfilled") await child.value.stop();
      }
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
