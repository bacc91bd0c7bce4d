import { decodeChunkList, type Hash, type VlinderError } from "@vlinder/protocol";
import type { StoredObject } from "../../storage/object-storage.ts";
import { packPath } from "../listing.ts";
import { Outbox } from "../outbox.ts";
import { packRawLength } from "../pack.ts";
import { PackWriter, type WrittenPack } from "../pack-writer.ts";
import { withFreshName } from "./fresh-name.ts";
import type { PackJob } from "./keeper.ts";
import { partsFirst } from "./parts-first.ts";

/**
 * Sends again what replaced packs held, their replacements lack, and this machine still needs: an erasure elsewhere took it out, and
 * another key here holds it. These packs hold no commits, and stand before all others: what needs them may be in any.
 *
 * @param marks packs beside which marks lie
 * @returns whether anything was sent
 */
export async function resendLeft(job: PackJob, marks: ReadonlySet<Hash>): Promise<boolean> {
  const { state, exchange } = job;
  const objects: StoredObject[] = [];
  const seen = new Set<string>();
  for (const { kind, hash } of state.leftOut()) {
    if (seen.has(`${kind} ${hash}`) || state.has(kind, hash)) continue;
    seen.add(`${kind} ${hash}`);
    const [bytes] = await exchange.read(kind, [hash]);
    if (bytes != null) objects.push({ kind, hash, bytes });
  }
  await sendFirst(job, marks, objects);
  return objects.length > 0;
}

/**
 * Of values and their parts that only a pack holds which is to be deleted, sends again those that are needed: they are here, or
 * commits of another machine need them, which put them while they were being erased.
 *
 * @param marks packs beside which marks lie
 * @returns whether there were any
 */
export async function rescue(
  job: PackJob,
  marks: ReadonlySet<Hash>,
  objects: readonly StoredObject[],
): Promise<boolean> {
  const { exchange } = job;
  if (objects.length === 0) return false;
  const tops = objects.filter(({ kind }) => kind !== "chunk").map(({ hash }) => hash);
  const needed = new Set(await exchange.retention.needed(tops));
  const byName = new Map(objects.map((object) => [`${object.kind} ${object.hash}`, object]));
  const lost: StoredObject[] = [];
  const wanted: StoredObject[] = [];
  for (const object of objects) {
    const [here] = await exchange.read(object.kind, [object.hash]);
    if (here != null) wanted.push(object);
    else if (needed.has(object.hash)) lost.push(...partsFirst(object, byName));
  }
  if (lost.length > 0) await exchange.receive(lost);
  const all = [...new Set([...lost, ...wanted])];
  await sendFirst(job, marks, all);
  return all.length > 0;
}

/** Chunks, then lists from the lowest up, then values: what each needs is before it. */
function inOrder(objects: readonly StoredObject[]): StoredObject[] {
  const rank = ({ kind, bytes }: StoredObject): number =>
    kind === "chunk" ? 0 : kind === "list" ? decodeChunkList(bytes).level : Number.POSITIVE_INFINITY;
  return objects.toSorted((a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b)));
}

async function sendFirst(job: PackJob, marks: ReadonlySet<Hash>, objects: readonly StoredObject[]): Promise<void> {
  const { agent, bucket, retries, sealer, state } = job;
  const outbox = new Outbox(bucket, retries);
  const writer = new PackWriter(sealer);
  const names: Hash[] = [];
  const send = async (pack: WrittenPack | null): Promise<void> => {
    if (pack === null) return;
    const { name, bytes, objects: held } = await withFreshName(pack, marks, sealer);
    const done = async (): Promise<void> => {
      await state.addPack(name, bytes.length, held, { raw: packRawLength(bytes, sealer !== null), first: true });
      names.push(name);
      state.arrange(names);
    };
    await outbox.add({ agent, file: { path: packPath(agent, name), bytes }, done });
  };
  state.comesBack(objects);
  for (const object of inOrder(objects)) await send(await writer.add(object));
  await send(await writer.finish());
  await outbox.flush();
  const error: VlinderError | null = outbox.errorOf(agent);
  if (error !== null) throw error;
}
