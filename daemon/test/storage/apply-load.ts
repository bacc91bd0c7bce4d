import { writeSync } from "node:fs";
import { openSqliteObjects } from "../../src/storage/backends/sqlite/sqlite-objects.ts";
import { objectsOfApply } from "./apply-load-objects.ts";

/*
 * A process that applies without end, several at a time, and prints the number of each one that was
 * acknowledged: what a test kills in the midst of it. Arguments: path, first number.
 */
const [path = "", first = "0"] = process.argv.slice(2);
const storage = await openSqliteObjects({ path, durability: "process" });
let next = Number(first);

async function applyForEver(): Promise<never> {
  for (;;) {
    const number = next++;
    await storage.apply({ objects: objectsOfApply(number), branches: [], replies: [] });
    writeSync(1, `${number}\n`);
  }
}
await Promise.all([applyForEver(), applyForEver(), applyForEver(), applyForEver()]);
