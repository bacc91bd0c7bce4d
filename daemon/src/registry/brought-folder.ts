import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "./atomic-file.ts";
import { exists, purgeFolder } from "./provision.ts";

/** In a folder that is being filled from a file: nothing of it is anybody's yet. */
const MARK = "bringing";

/**
 * Does work that fills an agent's folder, all or nothing. Where it fails what was made is deleted again, and where the daemon
 * ends on the way, when it starts: see `settleFolder`. What was there before stays, but of an agent that was purged.
 */
export async function fillFolder<Result>(
  folder: string,
  purged: boolean,
  work: () => Promise<Result>,
): Promise<Result> {
  const isNew = !(await exists(folder));
  const mark = join(folder, MARK);
  try {
    if (isNew) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await writeFileAtomic(mark, "An agent is being imported; if that does not end, this folder is deleted.\n");
    }
    const result = await work();
    if (isNew) await rm(mark, { force: true });
    return result;
  } catch (error) {
    if (isNew) await rm(folder, { recursive: true, force: true });
    else if (purged) await purgeFolder(folder);
    throw error;
  }
}

/** Deletes a folder that was being filled when the daemon ended. */
export async function settleFolder(folder: string, registered: boolean): Promise<void> {
  const mark = join(folder, MARK);
  if (!(await exists(mark))) return;
  await rm(registered ? mark : folder, { recursive: true, force: true });
}
