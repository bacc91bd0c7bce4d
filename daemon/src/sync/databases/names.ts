import type { AgentName, DeviceId, Hash } from "@vlinder/protocol";

/** A copy's part: a database, or the file that says what the copy is. */
const COPY =
  /^(?:objects|vectors)-\d{8}T\d{9}Z-[0-9a-f]{16}\.db(?:\.age)?$|^copy-\d{8}T\d{9}Z-[0-9a-f]{16}\.json(?:\.age)?$/;

export type DatabaseName = "objects" | "vectors";

/** Each machine's copies lie in a folder of its own: nobody else replaces them. */
export function copyFolder(agent: AgentName, device: DeviceId): string {
  return `agents/${agent}/databases/${device}/`;
}

/** @param hash of the file's bytes: two copies of one moment have two names */
export function copyName(part: DatabaseName | "copy", time: Date, hash: Hash, isSealed: boolean): string {
  const when = time.toISOString().replaceAll(/[-:.]/g, "");
  return `${part}-${when}-${hash.slice(0, 16)}.${part === "copy" ? "json" : "db"}${isSealed ? ".age" : ""}`;
}

/** Whether a file in a machine's folder is a part of a copy. Anything else is somebody's, and left alone. */
export function isCopyName(name: string): boolean {
  return COPY.test(name);
}
