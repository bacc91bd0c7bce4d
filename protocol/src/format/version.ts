import { invalid, VlinderError } from "../errors.ts";

/** Refuses a format that a newer release wrote, so that it is not taken for damage. @throws invalid */
export function refuseNewerFormat(what: string, version: unknown, known = 1): void {
  if (typeof version !== "number" || version <= known) return;
  throw invalid(`${what} of format ${version}; this release knows ${known}`, {
    remedy: "a newer vlinder wrote it: update this one",
    details: { version },
  });
}

/** Whether what was read is of a newer release, and not damaged. */
export function isNewerFormat(error: unknown): error is VlinderError {
  return error instanceof VlinderError && error.code === "invalid" && typeof error.details["version"] === "number";
}
