import { VlinderError } from "@vlinder/protocol";

/**
 * Refuses a small file of the home that a newer release wrote, so that it is neither misread nor taken for damaged and
 * replaced. @param version what the file says, of whatever type @throws invalid
 */
export function refuseNewer(file: string, version: unknown, known: number): void {
  if (typeof version !== "number" || version <= known) return;
  throw new VlinderError("invalid", `${file} has version ${version}; this release knows ${known}`, {
    remedy: "a newer vlinder wrote it: update this one",
    details: { path: file, version },
  });
}
