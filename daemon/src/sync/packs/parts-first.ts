import { decodeChunkList } from "@vlinder/protocol";
import type { Kind, StoredObject } from "../../storage/object-storage.ts";

/** An object with what of these is below it, as `<kind> <hash>`, parts before the lists that name them. */
export function partsFirst(object: StoredObject, all: ReadonlyMap<string, StoredObject>): StoredObject[] {
  if (object.kind !== "list") return [object];
  const { level, parts } = decodeChunkList(object.bytes);
  const kind: Kind = level === 1 ? "chunk" : "list";
  const below = parts.flatMap(({ hash }) => all.get(`${kind} ${hash}`) ?? []);
  return [...below.flatMap((part) => partsFirst(part, all)), object];
}
