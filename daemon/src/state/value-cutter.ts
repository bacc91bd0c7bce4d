import { CHUNKED_OVER, type Hash, sha256 } from "@vlinder/protocol";
import type { StoredObject } from "../storage/object-storage.ts";
import { chunkEnd, LONGEST_CHUNK } from "./chunks.ts";
import { ListBuilder } from "./list-builder.ts";

/** Makes a value that comes piece by piece into the objects that store it. Holds one chunk and the open lists. */
export class ValueCutter {
  readonly #lists = new ListBuilder();
  #rest: Uint8Array = new Uint8Array();
  #chunked = false;

  /** The objects that are whole with these bytes; they are views of them. */
  push(bytes: Uint8Array): StoredObject[] {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const objects: StoredObject[] = [];
    let start = 0;
    // One byte more than a chunk: a value of exactly that size is not chunked.
    while (all.length - start > LONGEST_CHUNK) start = this.#cut(all, start, objects);
    this.#rest = all.subarray(start);
    return objects;
  }

  /** The objects that are left, the one under the value's hash last. */
  finish(value: Hash): StoredObject[] {
    const rest = this.#rest;
    if (!this.#chunked && rest.length <= CHUNKED_OVER) return [{ kind: "value", hash: value, bytes: rest }];
    const objects: StoredObject[] = [];
    for (let start = 0; start < rest.length;) start = this.#cut(rest, start, objects);
    for (const list of this.#lists.finish(value)) objects.push(list);
    return objects;
  }

  #cut(bytes: Uint8Array, start: number, objects: StoredObject[]): number {
    this.#chunked = true;
    const end = chunkEnd(bytes, start);
    const chunk = bytes.subarray(start, end);
    const hash = sha256(chunk);
    objects.push({ kind: "chunk", hash, bytes: chunk });
    for (const list of this.#lists.add({ hash, size: chunk.length })) objects.push(list);
    return end;
  }
}

/** The objects that store a value: its bytes, or for a large one chunks and the lists of them. */
export function valueObjects(hash: Hash, bytes: Uint8Array): StoredObject[] {
  if (bytes.length <= CHUNKED_OVER) return [{ kind: "value", hash, bytes }];
  const cutter = new ValueCutter();
  return [...cutter.push(bytes), ...cutter.finish(hash)];
}
