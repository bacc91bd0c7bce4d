import { type ErrorOptions, VlinderError } from "@vlinder/protocol";

/** The `code` of a system error, or undefined. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}

/** A system error as the Bucket contract wants it. */
export function bucketFileError(error: unknown, doing: string, uri: string): VlinderError {
  if (error instanceof VlinderError) return error;
  const code = systemCode(error) ?? "unknown error";
  const make = (kind: "unavailable" | "denied", remedy: string, more: ErrorOptions = {}): VlinderError =>
    new VlinderError(kind, `${doing} failed in the bucket ${uri}: ${code}`, {
      remedy,
      cause: error,
      details: { bucket: uri, code },
      ...more,
    });
  switch (code) {
    case "EACCES":
    case "EPERM":
      return make("denied", "let the user that runs vlinderd read and write the folder");
    case "EROFS":
      return make("denied", "mount the drive writable");
    case "ELOOP":
      return make("denied", "remove the symbolic link from the bucket's folder");
    case "ENOSPC":
    case "EDQUOT":
      return make("unavailable", "free some space on the drive");
    case "ENOENT":
    case "ENOTDIR":
      return make("unavailable", "mount the drive or bring the folder back");
    default:
      return make("unavailable", "check the drive and the connection to it");
  }
}
