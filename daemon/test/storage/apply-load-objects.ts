import { createHash } from "node:crypto";
import type { Hash } from "@vlinder/protocol";
import type { StoredObject } from "../../src/storage/object-storage.ts";

/** What the process of apply-load.ts stores with its apply of this number. */
export function objectsOfApply(number: number): StoredObject[] {
  return Array.from({ length: 20 }, (_, index) => {
    const bytes = Buffer.from(`object ${index} of apply ${number}`.padEnd(index === 0 ? 20_000 : 200, "."));
    return { kind: "value", hash: createHash("sha256").update(bytes).digest("hex") as Hash, bytes };
  });
}
