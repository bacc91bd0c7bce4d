import { randomBytes } from "node:crypto";
import { type Hash, sha256 } from "@vlinder/protocol";
import { encodePack } from "../pack.ts";
import type { WrittenPack } from "../pack-writer.ts";
import type { Sealer } from "../vault/sealer.ts";

/**
 * A pack under a name that is not taken: one of the same contents was replaced before, or is about to be, and what bears its name is to be
 * deleted. A value that nobody needs, behind the others, gives it another one.
 */
export async function withFreshName(
  pack: WrittenPack,
  taken: ReadonlySet<Hash>,
  sealer: Sealer | null,
): Promise<WrittenPack> {
  if (!taken.has(pack.name)) return pack;
  const bytes = randomBytes(16);
  const objects = [...pack.objects, { kind: "value", hash: sha256(bytes), bytes } as const];
  return { ...(await encodePack(objects, true, sealer)), objects };
}
