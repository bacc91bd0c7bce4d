import { constants, type FileHandle, copyFile, open } from "node:fs/promises";

const SLICE = 1 << 20;

/** Copies a file, durably; `to` must not be there. Who may read it is what this process says of new files, and not what the source says. */
export async function copyNew(from: string, to: string): Promise<void> {
  const file = await open(to, "wx");
  try {
    const { mode } = await file.stat();
    await copyFile(from, to, constants.COPYFILE_FICLONE);
    await file.chmod(mode);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** False also when `target` is no plain file. */
export async function haveSameBytes(source: string, target: string): Promise<boolean> {
  const ours = await open(source, "r");
  try {
    const theirs = await open(target, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
    try {
      return await areEqual(ours, theirs);
    } finally {
      await theirs.close();
    }
  } finally {
    await ours.close();
  }
}

async function areEqual(ours: FileHandle, theirs: FileHandle): Promise<boolean> {
  const found = await theirs.stat();
  if (!found.isFile() || found.size !== (await ours.stat()).size) return false;
  for (let at = 0; at < found.size; at += SLICE) {
    const [one, other] = await Promise.all([ours, theirs].map((file) => file.read(Buffer.alloc(SLICE), 0, SLICE, at)));
    const length = Math.min(SLICE, found.size - at);
    const isWhole = one?.bytesRead === length && other?.bytesRead === length;
    if (!isWhole || !one.buffer.equals(other.buffer)) return false;
  }
  return true;
}
