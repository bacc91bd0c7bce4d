import { dirname } from "node:path";
import type { ErrorCode } from "@vlinder/protocol";

/** Why SQLite could not do something, in a form that crosses threads; `errorOf` makes it a VlinderError. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly remedy: string;
  readonly retryable: boolean;
}

/** Thrown in the threads, where loading the protocol package would only cost time. */
export class StorageFailure extends Error {
  override readonly name = "StorageFailure";
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

/** What making the file can end with, as SQLite would have said it. */
const SYSTEM: Readonly<Record<string, string>> = {
  ENOSPC: "SQLITE_FULL",
  EDQUOT: "SQLITE_FULL",
  EIO: "SQLITE_IOERR",
  EROFS: "SQLITE_READONLY",
  EACCES: "SQLITE_CANTOPEN",
  EPERM: "SQLITE_CANTOPEN",
  ENOENT: "SQLITE_CANTOPEN",
  ENOTDIR: "SQLITE_CANTOPEN",
  EEXIST: "SQLITE_CANTOPEN",
  EISDIR: "SQLITE_CANTOPEN",
  EMFILE: "SQLITE_CANTOPEN",
  ENFILE: "SQLITE_CANTOPEN",
};

type Known = readonly [code: ErrorCode, message: string, remedy: string, retryable: boolean];

function known(code: string, path: string): Known | null {
  const folder = dirname(path);
  switch (code.startsWith("SQLITE_") ? code.split("_")[1] : null) {
    case "FULL":
      return [
        "unavailable",
        `the disk is full: ${path} can't grow`,
        `free space on the disk that holds ${folder}`,
        true,
      ];
    case "IOERR":
      return [
        "unavailable",
        `the disk failed at ${path}`,
        `check space, quota and health of the disk that holds ${folder}`,
        true,
      ];
    case "READONLY":
      return [
        "unavailable",
        `${path} can't be written`,
        `make ${folder} and the files in it writable for vlinderd`,
        true,
      ];
    case "BUSY":
    case "LOCKED":
      return [
        "unavailable",
        `another program keeps ${path} locked`,
        "end that program, or wait until it is done",
        true,
      ];
    case "CANTOPEN":
    case "PERM":
    case "AUTH":
      return [
        "unavailable",
        `${path} can't be opened`,
        `see that ${folder} is there and that vlinderd may read and write in it`,
        true,
      ];
    case "NOMEM":
      return ["unavailable", `there is not enough memory for ${path}`, "give vlinderd more memory", true];
    case "CORRUPT":
      return [
        "unavailable",
        `${path} is damaged`,
        "keep a copy of the file, then bring the agent back from its bucket or a backup",
        false,
      ];
    case "NOTADB":
      return ["invalid", `${path} is not a database`, "name another file, or move this one away", false];
    case "TOOBIG":
      return ["too_large", `an object is too large for ${path}`, "store it in parts", false];
    default:
      return null;
  }
}

/** @param path the database's file, for the message */
export function failureOf(error: unknown, path: string): Failure {
  if (error instanceof StorageFailure) return error.failure;
  const text = error instanceof Error ? error.message : String(error);
  const given = (error as { readonly code?: unknown } | null)?.code;
  const found = typeof given === "string" ? known(SYSTEM[given] ?? given, path) : null;
  if (found === null) {
    return {
      code: "internal",
      message: `${path}: ${text}`,
      remedy: "report this with the daemon's log",
      retryable: false,
    };
  }
  const [code, message, remedy, retryable] = found;
  return { code, message: `${message} (${text})`, remedy, retryable };
}
