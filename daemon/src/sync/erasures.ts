import { asBuffer, decodeChunkList, decodeCommit, type Hash, VlinderError } from "@vlinder/protocol";
import type { Beside, Exchange } from "../state/api.ts";
import { ERASED } from "../state/retention/erased.ts";
import { valueKind } from "../state/objects.ts";
import type { Kind, StoredObject } from "../storage/object-storage.ts";

export const VALUES: ReadonlySet<Kind> = new Set(["value", "chunk", "list"]);

/** The object that `receive` refused something for, as it is not here. */
export function missingIn(error: unknown): { readonly kind: Kind; readonly hash: Hash } | undefined {
  if (!(error instanceof VlinderError)) return undefined;
  return error.details["missing"] as { kind: Kind; hash: Hash } | undefined;
}

/** `erase` commits of a pack, with what their lists are stored as. */
export function erasuresIn(objects: readonly StoredObject[]): StoredObject[] {
  const erases = objects.filter(({ kind, bytes }) => kind === "commit" && asBuffer(bytes).includes('"kind":"erase"'));
  if (erases.length === 0) return [];
  const byName = new Map(objects.map((object) => [`${object.kind} ${object.hash}`, object]));
  const found = new Set<StoredObject>(erases);
  const take = (kind: Kind, hash: Hash): void => {
    const object = byName.get(`${kind} ${hash}`);
    if (object === undefined || found.has(object)) return;
    found.add(object);
    if (kind !== "list") return;
    const { level, parts } = decodeChunkList(object.bytes);
    for (const part of parts) take(level === 1 ? "chunk" : "list", part.hash);
  };
  for (const { bytes } of erases) {
    const list = decodeCommit(bytes).event.values?.[ERASED];
    if (list !== undefined) take(valueKind(list[1]), list[0]);
  }
  return [...found];
}

/**
 * Takes packs one after another of which a later one may say that values of an earlier one were erased: an agent that
 * forgot, and was sent as a whole after that. Only where something is missing, the later ones are looked through.
 */
export class ErasedAhead {
  readonly #exchange: Exchange;
  #ahead: readonly StoredObject[] = [];
  #looked = false;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /**
   * @param later the packs behind this one
   * @param beside as `Exchange.receive` has it
   */
  async receive(
    objects: readonly StoredObject[],
    later: () => AsyncIterable<readonly StoredObject[]>,
    beside: Beside = {},
  ): Promise<{ readonly commits: number }> {
    const known = this.#ahead;
    try {
      return await this.#exchange.receive(objects, known, beside);
    } catch (error) {
      const missing = missingIn(error);
      if (missing === undefined || !VALUES.has(missing.kind)) throw error;
      if (!this.#looked) {
        this.#looked = true;
        const found: StoredObject[] = [];
        for await (const pack of later()) found.push(...erasuresIn(pack));
        this.#ahead = found;
      } else if (this.#ahead === known) throw error;
      return await this.#exchange.receive(objects, this.#ahead, beside);
    }
  }
}
