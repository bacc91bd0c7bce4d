import { constants } from "node:fs";
import { copyFile, mkdtemp, open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { invalid, VlinderError } from "@vlinder/protocol";

/** What to tell somebody whose file is not the right one. */
export interface Wanted {
  /** The remedy: which file to name. */
  readonly expected: string;
  /** What writes the file, and is to be stopped when it changes while it is copied. */
  readonly writer: string;
}

/**
 * Opens a copy of a foreign SQLite file, with the log that may lie beside it: so the file is not touched at all (even a
 * reading connection would leave files beside it), and the copy can be written to. `close` of what was opened has to
 * remove the folder. @throws not_found, denied; invalid: not such a file; unavailable: it changes, or no space
 */
export async function openCopy<Source>(
  path: string,
  scratch: string,
  wanted: Wanted,
  opened: (copy: string, folder: string) => Source | Promise<Source>,
): Promise<Source> {
  const folder = await mkdtemp(join(scratch, SCRATCH));
  try {
    const copy = join(folder, "copy.db");
    await copyDatabase(path, copy, wanted);
    return await opened(copy, folder);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw sourceError(error, path, wanted);
  }
}

const SCRATCH = "foreign-";

/** Deletes the copies that a daemon left which was killed. */
export async function removeCopies(scratch: string): Promise<void> {
  for (const name of await readdir(scratch)) {
    if (name.startsWith(SCRATCH)) await rm(join(scratch, name), { recursive: true, force: true });
  }
}

/** With its log. A file that changed meanwhile may be half of one state and half of another. */
async function copyDatabase(path: string, copy: string, { expected, writer }: Wanted): Promise<void> {
  const print = async (): Promise<string> => {
    const files = [path, `${path}-wal`, `${path}-journal`];
    const parts = files.map((file) =>
      stat(file).then(
        ({ size, mtimeMs }) => `${size} ${mtimeMs}`,
        () => "none",
      ),
    );
    return (await Promise.all(parts)).join();
  };
  const before = await print();
  if (!(await stat(path)).isFile()) throw invalid(`${path} is no plain file`, { remedy: expected });
  await checkHeader(path, expected);
  await copyFile(path, copy, constants.COPYFILE_FICLONE);
  for (const suffix of ["-wal", "-journal"]) {
    await copyFile(path + suffix, copy + suffix).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
  }
  if ((await print()) === before) return;
  throw new VlinderError("unavailable", `${path} changes while it is read`, {
    remedy: `stop ${writer}, and import again`,
    details: { path },
  });
}

const MAGIC = "SQLite format 3\0";
/** Offsets in the header, and the newest that SQLite knows: https://www.sqlite.org/fileformat2.html#the_database_header */
const READ_VERSION = { at: 19, newest: 2 };
const SCHEMA_FORMAT = { at: 44, newest: 4 };

/** Before a copy is made: SQLite itself has one error for what is encrypted, newer, or something else. */
async function checkHeader(path: string, expected: string): Promise<void> {
  const file = await open(path, "r");
  const header = Buffer.alloc(100);
  try {
    const { bytesRead } = await file.read(header, 0, header.length, 0);
    if (bytesRead === 0) throw invalid(`${path} is empty`, { remedy: expected, details: { path } });
    if (bytesRead < header.length || header.toString("latin1", 0, MAGIC.length) !== MAGIC) {
      throw invalid(`${path} is no SQLite database, or an encrypted one`, {
        remedy: `${expected}; of an encrypted one, a copy that is decrypted`,
        details: { path },
      });
    }
  } finally {
    await file.close();
  }
  const version = header.readUInt8(READ_VERSION.at);
  const format = header.readUInt32BE(SCHEMA_FORMAT.at);
  if (version <= READ_VERSION.newest && format <= SCHEMA_FORMAT.newest) return;
  throw invalid(`${path} is of a newer SQLite format than this vlinder reads`, {
    remedy: "`sqlite3 FILE .dump | sqlite3 OTHER`, with the SQLite that wrote it, makes one that can be read",
    details: { path, version, format },
  });
}

/** What went wrong with a foreign file, as an error that says what to do. */
export function sourceError(error: unknown, path: string, { expected }: Wanted): unknown {
  if (error instanceof VlinderError) return error;
  const code = (error as { code?: unknown } | null)?.code;
  const details = { path, code: String(code) };
  if (code === "ENOENT" || code === "ENOTDIR") {
    return new VlinderError("not_found", `there is no file ${path}`, { remedy: "check the path", details });
  }
  if (code === "EACCES" || code === "EPERM") {
    return new VlinderError("denied", `vlinderd can't read ${path}`, { remedy: "let its user read the file", details });
  }
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new VlinderError("unavailable", "there is no space for a copy of the file", {
      remedy: "free space on the disk of VLINDER_HOME",
      details,
    });
  }
  if (code === "SQLITE_NOTADB" || isCorrupt(code)) {
    return invalid(`${path} is no SQLite database, or a damaged one`, {
      remedy: `${expected}; of a damaged one, what \`sqlite3 FILE .recover\` saves`,
      details,
      cause: error,
    });
  }
  if (code === "SQLITE_ERROR") {
    return invalid(`${path} can't be read: ${(error as Error).message}`, { remedy: expected, details, cause: error });
  }
  return error;
}

/** Also its extended codes. */
export function isCorrupt(code: unknown): boolean {
  return typeof code === "string" && code.startsWith("SQLITE_CORRUPT");
}
