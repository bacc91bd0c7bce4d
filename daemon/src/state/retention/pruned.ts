import { asBuffer, type Hash, hashToBytes, VlinderError } from "@vlinder/protocol";
import type { Note, ObjectStorage } from "../../storage/object-storage.ts";

const NAME = "pruned";
const WIDTH = 32;

/** The commits whose states retention has dropped on this machine. Kept in a note: hashes, 32 bytes each, in order. */
export class Pruned {
  #hashes: Buffer;

  private constructor(hashes: Buffer) {
    this.#hashes = hashes;
  }

  static async open(storage: ObjectStorage): Promise<Pruned> {
    const note = (await storage.notes(NAME)).find(({ name }) => name === NAME);
    return new Pruned(Buffer.from(note?.bytes ?? []));
  }

  /** Of such a list. */
  static of(hashes: Uint8Array): Pruned {
    return new Pruned(asBuffer(hashes));
  }

  /** Hashes, 32 bytes each, in order. */
  get hashes(): Uint8Array {
    return this.#hashes;
  }

  get count(): number {
    return this.#hashes.length / WIDTH;
  }

  /** Whether the state at the commit may be gone: that is no damage then. */
  covers(commit: Hash): boolean {
    if (this.#hashes.length === 0) return false;
    const wanted = hashToBytes(commit);
    let [low, high] = [0, this.count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order = this.#hashes.compare(wanted, 0, WIDTH, middle * WIDTH, (middle + 1) * WIDTH);
      if (order === 0) return true;
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return false;
  }

  /** @throws pruned */
  check(commit: Hash): void {
    if (this.covers(commit)) throw prunedError(commit);
  }

  /**
   * What the note is with more commits, or without some: both sorted, 32 bytes each. It changes nothing yet; with a
   * million commits it takes some tenths of a second, so it is worked out before writes have to wait.
   */
  with(commits: Buffer): Note {
    return noteOf(merged(this.#hashes, commits));
  }

  without(commits: Buffer): Note {
    return noteOf(difference(this.#hashes, commits));
  }

  get note(): Note {
    return noteOf(this.#hashes);
  }

  /** Takes effect at once, for reads, and for ever when the note is stored; when it can't be, it is as it was. */
  async become(note: Note, storage: ObjectStorage): Promise<void> {
    const before = this.#hashes;
    this.#hashes = note.bytes === null ? Buffer.alloc(0) : asBuffer(note.bytes);
    try {
      await storage.apply({ objects: [], branches: [], replies: [], notes: [note] });
    } catch (error) {
      this.#hashes = before;
      throw error;
    }
  }
}

function noteOf(hashes: Buffer): Note {
  return { name: NAME, bytes: hashes.length === 0 ? null : hashes };
}

function compare(a: Buffer, i: number, b: Buffer, j: number): number {
  return a.compare(b, j, j + WIDTH, i, i + WIDTH);
}

/** Of two sorted lists, each hash once. */
function merged(a: Buffer, b: Buffer): Buffer {
  const all = Buffer.alloc(a.length + b.length);
  let [i, j, end] = [0, 0, 0];
  while (i < a.length || j < b.length) {
    const order = i === a.length ? 1 : j === b.length ? -1 : compare(a, i, b, j);
    if (order <= 0) a.copy(all, end, i, i + WIDTH);
    else b.copy(all, end, j, j + WIDTH);
    end += WIDTH;
    if (order <= 0) i += WIDTH;
    if (order >= 0) j += WIDTH;
  }
  return all.subarray(0, end);
}

function difference(a: Buffer, b: Buffer): Buffer {
  const left = Buffer.alloc(a.length);
  let [j, end] = [0, 0];
  for (let i = 0; i < a.length; i += WIDTH) {
    while (j < b.length && compare(a, i, b, j) > 0) j += WIDTH;
    if (j < b.length && compare(a, i, b, j) === 0) continue;
    end += a.copy(left, end, i, i + WIDTH);
  }
  return left.subarray(0, end);
}

export function prunedError(commit: Hash): VlinderError {
  return new VlinderError("pruned", `the state at commit ${commit} was dropped by retention`, {
    details: { commit },
    remedy:
      "`vlinder gc AGENT --undo` brings back what the last collection dropped while its quarantine lasts; the commit " +
      "itself stays in the log",
  });
}
