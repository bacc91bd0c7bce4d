import { bytesWritten } from "../io.ts";
import { loadAgentFS, textOf } from "./agentfs-package.ts";
import type { Lane } from "./lane.ts";
import { measureLane, type Task } from "./measure-lane.ts";

/** Opens AgentFS on a path; each message is a task, and the answer what was measured, or what went wrong. */
const { AgentFS } = await loadAgentFS();
const { kv } = await AgentFS.open({ path: process.argv[2] as string });
const lane: Lane = {
  put: (key, value) => kv.set(key, textOf(value)),
  get: async (key) => {
    if (typeof (await kv.get(key)) !== "string") throw new Error(`the key ${key} is missing`);
  },
};
process.on("message", (task: Task) => {
  measureLane(lane, bytesWritten, task).then(
    (measured) => process.send?.(measured),
    (error: unknown) => process.send?.(String(error)),
  );
});
process.on("disconnect", () => process.exit());
process.send?.("ready");
