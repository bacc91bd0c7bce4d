import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { randomBytes } from "node:crypto";
import { figure, megabytes } from "../figures.ts";
import { keyAt } from "../values.ts";
import { Daemon } from "../wire/daemon.ts";
import { EngineStore } from "./engine-store.ts";

const LARGE_BYTES = 4 << 20;
const LARGE_TOGETHER = 4;
const WORDS = Array.from({ length: 2000 }, (_, n) => `${n.toString(36)}${randomBytes(2 + (n % 5)).toString("hex")}`);
const NOTES_TOGETHER = 200;

/** What a machine with years of use has, in two halves: large files that do not compress, and notes of 1 to 12 kB that do. */
export interface MixedState {
  readonly agent: string;
  readonly path: string;
  /** Of the values. */
  readonly bytes: number;
  readonly notes: number;
  readonly large: number;
}

/** Writes it where the home's daemon will look for it. */
export async function makeMixed(
  home: string,
  agent: string,
  bytes: number,
  say: (line: string) => void,
): Promise<MixedState> {
  const path = Daemon.fileOf(home, agent);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const store = await EngineStore.open(path, agent);
  const large = Math.max(1, Math.floor(bytes / 2 / LARGE_BYTES));
  for (let n = 0; n < large; n += LARGE_TOGETHER) {
    await store.put(keysOf("/large", n, Math.min(large, n + LARGE_TOGETHER)), { next: () => randomBytes(LARGE_BYTES) });
    if (n % 64 === 0) say(`a state of ${megabytes(bytes)}: ${figure(n)} large values`);
  }
  const writer = new NoteWriter();
  let notes = 0;
  while (writer.bytes < bytes / 2) {
    await store.fill(keysOf("/notes", notes, notes + NOTES_TOGETHER), writer, () => {});
    notes += NOTES_TOGETHER;
    if (notes % 20_000 === 0) say(`a state of ${megabytes(bytes)}: ${figure(notes)} notes`);
  }
  // The log goes into the file: what a copy of it would have to carry.
  await store.size();
  await store.close();
  return { agent, path, bytes: large * LARGE_BYTES + writer.bytes, notes, large };
}

function keysOf(prefix: string, from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => `${prefix}${keyAt(from + i)}`);
}

class NoteWriter {
  bytes = 0;
  #count = 0;

  next(): Uint8Array {
    const size = 1000 + ((this.#count * 7919) % 11_000);
    const words: string[] = [];
    for (let length = 0, seed = this.#count; length < size;) {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      const word = WORDS[(seed >> 8) % WORDS.length] as string;
      words.push(word);
      length += word.length + 1;
    }
    const note = Buffer.from(JSON.stringify({ n: this.#count++, text: words.join(" ") }));
    this.bytes += note.length;
    return note;
  }
}
