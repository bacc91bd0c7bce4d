import { type Hash, hashToBytes, VlinderError } from "@vlinder/protocol";
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

  /** Takes effect at once, for reads; the note that says so for ever is the caller's to store. */
  add(commits: readonly Buffer[]): Note {
    return this.#set([...this.#all(), ...commits]);
  }

  /** @param commits one after another, 32 bytes each */
  delete(commits: Buffer): Note {
    const gone = new Set(split(commits).map((hash) => hash.toString("latin1")));
    return this.#set(this.#all().filter((hash) => !gone.has(hash.toString("latin1"))));
  }

  /** Goes back to what an earlier note says, when a later one could not be stored. */
  restore(note: Note): void {
    this.#hashes = Buffer.from(note.bytes ?? []);
  }

  get note(): Note {
    return { name: NAME, bytes: this.#hashes.length === 0 ? null : this.#hashes };
  }

  #all(): Buffer[] {
    return split(this.#hashes);
  }

  #set(hashes: Buffer[]): Note {
    hashes.sort((a, b) => Buffer.compare(a, b));
    this.#hashes = Buffer.concat(hashes.filter((hash, i) => i === 0 || !hash.equals(hashes[i - 1] as Buffer)));
    return this.note;
  }
}

function split(hashes: Buffer): Buffer[] {
  return Array.from({ length: hashes.length / WIDTH }, (_, i) => hashes.subarray(i * WIDTH, (i + 1) * WIDTH));
}

export function prunedError(commit: Hash): VlinderError {
  return new VlinderError("pruned", `the state at commit ${commit} was dropped by retention`, {
    details: { commit },
    remedy:
      "`vlinder gc AGENT --undo` brings back what the last collection dropped while its quarantine lasts; the commit " +
      "itself stays in the log",
  });
}
