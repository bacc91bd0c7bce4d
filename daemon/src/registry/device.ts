import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { type DeviceId, isNewerFormat, parseDeviceId, VlinderError } from "@vlinder/protocol";
import { z } from "zod";
import { refuseNewer } from "../file-version.ts";
import { createFileAtomic, writeFileAtomic } from "./atomic-file.ts";

const deviceFile = z.object({ v: z.literal(1), device: z.string() });

/**
 * The home's device id, made at random the first time. A damaged file is refused and never
 * replaced: the id names this machine's heads in the bucket, and another id would orphan them.
 */
export async function readOrMakeDevice(path: string): Promise<DeviceId> {
  const made = { v: 1, device: randomBytes(16).toString("hex") };
  const existing = await read(path);
  if (existing !== null) return existing;
  await createFileAtomic(path, `${JSON.stringify(made)}\n`);
  // Whoever was first has named the device.
  const device = await read(path);
  if (device !== null) return device;
  throw new VlinderError("internal", `${path} was removed while the home was opened`, { remedy: "start again" });
}

async function read(path: string): Promise<DeviceId | null> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  try {
    const contents = JSON.parse(text) as { readonly v?: unknown } | null;
    refuseNewer(path, contents?.v, 1);
    return parseDeviceId(deviceFile.parse(contents).device);
  } catch (cause) {
    if (isNewerFormat(cause)) throw cause;
    throw new VlinderError("invalid", `${path} is damaged`, {
      remedy: "restore it from a backup; or remove it, and this home becomes a new device to its bucket",
      cause,
    });
  }
}

/** Gives the home a new device id in place of the one it has: another home was found to use that too. */
export async function renewDevice(path: string): Promise<DeviceId> {
  const device = randomBytes(16).toString("hex");
  await writeFileAtomic(path, `${JSON.stringify({ v: 1, device })}\n`);
  return parseDeviceId(device);
}
