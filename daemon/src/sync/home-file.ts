import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { asVlinderError, VlinderError } from "@vlinder/protocol";
import { systemCode } from "./buckets/file-error.ts";

/** A small file of this home; null when it is not there. @throws unavailable */
export async function readHomeFile(file: string): Promise<Buffer | null> {
  try {
    return await readFile(file);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw homeError(error, file);
  }
}

/** Replaces a small file of this home, whole or not at all, durably. @throws unavailable */
export async function writeHomeFile(file: string, text: string | Uint8Array, mode = 0o644): Promise<void> {
  const temp = `${file}.${randomUUID()}.tmp`;
  try {
    await mkdir(dirname(file), { recursive: true });
    const handle = await open(temp, "wx", mode);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temp, file);
    if (process.platform === "win32") return;
    const folder = await open(dirname(file), "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (error) {
    await rm(temp, { force: true });
    throw homeError(error, file);
  }
}

function homeError(error: unknown, file: string): VlinderError {
  const code = systemCode(error);
  if (code === undefined) return asVlinderError(error);
  return new VlinderError("unavailable", `${file} can't be used: ${code}`, {
    remedy: "check the home folder, its permissions and its disk",
    cause: error,
    details: { file, code },
  });
}
