import { MemoryWatch } from "../harness/memory.ts";
import { runLarge } from "../harness/large-values.ts";
import { type Stage, SYNC_BY_HAND } from "../harness/stage.ts";

/** A large value from one machine through a bucket to another. */
export async function pushLarge(
  stage: Stage,
  bytes: number,
): Promise<{ readonly seconds: number; readonly memory: number; readonly same: boolean }> {
  const uri = `file://${await stage.path("bucket")}`;
  const [one, two] = [await stage.daemon(SYNC_BY_HAND), await stage.daemon(SYNC_BY_HAND)];
  await stage.register(one, "carries");
  const { hash } = await runLarge(one, "put", "carries", "/big", bytes);
  const started = performance.now();
  const watches = [new MemoryWatch(one.pid), new MemoryWatch(two.pid)];
  const patient = { timeout: 600_000 };
  for (const daemon of [one, two]) await (await stage.admin(daemon)).admin("sync.init", { uri });
  const pushed = await (await stage.admin(one)).admin("sync.push", {}, patient);
  const pulled = await (await stage.admin(two)).admin("sync.pull", {}, patient);
  const seconds = (performance.now() - started) / 1000;
  const memory = Math.max(...watches.map((watch) => watch.stop()));
  const errors = [...pushed.agents, ...pulled.agents].filter(({ error }) => error !== null);
  const got = await runLarge(two, "get", "carries", "/big", 0);
  return { seconds, memory, same: errors.length === 0 && got.hash === hash && got.size === bytes };
}
