import { rename } from "node:fs/promises";
import type { Admission } from "./admission.ts";
import type { Declaration } from "./declaration.ts";
import { exists } from "./provision.ts";
import { registrationFile } from "./registration.ts";

/** What the user should know though the registration works. */
export async function notesOn({ objects }: Declaration, admission: Admission): Promise<string[]> {
  const notes: string[] = [];
  if (admission === "kept") notes.push("it was removed before; the data that was kept was taken up again");
  if (admission === "new" && objects.path !== null && (await exists(objects.path))) {
    notes.push(`${objects.path} was there already and was taken up`);
  }
  if (objects.scheme === "memory") notes.push("memory:// storage is gone when the daemon stops");
  return notes;
}

/** Makes room for a new record in place of one that can't be read; says where that one is now. */
export async function setAside(folder: string): Promise<string> {
  const path = registrationFile(folder);
  const aside = `${path}.damaged`;
  await rename(path, aside);
  return `the damaged registration was set aside as ${aside}`;
}
