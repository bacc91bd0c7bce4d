import type { ObjectStorage } from "../storage/object-storage.ts";
import { type Hash, isHash, VlinderError } from "@vlinder/protocol";

/** A commit by its hash or a unique prefix of it. `prefixed` lists what the storage has with that prefix. @throws not_found, invalid */
export async function resolveCommit(
  text: string,
  has: (hash: Hash) => Promise<boolean>,
  prefixed: (prefix: string) => Promise<Hash[]>,
): Promise<Hash> {
  if (isHash(text)) {
    if (await has(text)) return text;
  } else {
    const found = await prefixed(text);
    if (found.length === 1) return found[0] as Hash;
    if (found.length > 1) {
      throw new VlinderError("invalid", `the prefix ${text} fits more than one commit`, {
        details: { candidates: found.slice(0, 10) },
        remedy: "give more digits",
      });
    }
  }
  throw new VlinderError("not_found", `there is no commit ${text}`, {
    details: { commit: text },
    remedy: "`vlinder log` shows the commits",
  });
}

/** At most 11. @param prefix hex digits */
export async function commitsWithPrefix(storage: Pick<ObjectStorage, "scan">, prefix: string): Promise<Hash[]> {
  const low = BigInt(`0x${prefix.padEnd(64, "0")}`);
  const after = low === 0n ? null : ((low - 1n).toString(16).padStart(64, "0") as Hash);
  const found = await storage.scan("commit", after, 11);
  return found.map(({ hash }) => hash).filter((hash) => hash.startsWith(prefix));
}
