import { VlinderError } from "@vlinder/protocol";

/** The `code` of a system error, or undefined. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}

/** A system error as the Bucket contract wants it. */
export function bucketFileError(error: unknown, doing: string, uri: string): VlinderError {
  if (error instanceof VlinderError) return error;
  const code = systemCode(error) ?? "unknown error";
  const failed = `${doing} failed in the bucket ${uri}: ${code}`;
  const make = (kind: "unavailable" | "denied", remedy: string, message = failed): VlinderError =>
    new VlinderError(kind, message, {
      remedy,
      cause: error,
      details: { bucket: uri, code },
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
      return make("unavailable", "mount the drive or bring the folder back", `there is no folder ${uri}`);
    case "ENOTDIR":
      return make("unavailable", "mount the drive or bring the folder back", `${uri} is not a folder`);
    default:
      return make("unavailable", "check the drive and the connection to it");
  }
}
