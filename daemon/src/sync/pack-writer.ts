import { VlinderError } from "@vlinder/protocol";
import type { StoredObject } from "../storage/object-storage.ts";
import { type EncodedPack, encodePack, PACK_LIMITS, recordLength } from "./pack.ts";
import type { Sealer } from "./vault/sealer.ts";

/** Where a pack is cut, at the end of a commit; and where it is cut in the middle of a large one. */
export const PACK_CUT = {
  raw: 16 << 20,
  records: 1 << 16,
  hardRaw: 32 << 20,
} as const;

export interface WrittenPack extends EncodedPack {
  /** Whoever needs their bytes no more may empty it: they are as much again as the pack. */
  readonly objects: StoredObject[];
}

/** Splits a stream of objects into packs. Holds one pack in memory. */
export class PackWriter {
  #objects: StoredObject[] = [];
  #raw = 0;
  readonly #sealer: Sealer | null;
  readonly #records: number;

  /**
   * @param sealer for an encrypted vault
   * @param records a pack is cut at the end of a commit when it has so many
   */
  constructor(sealer: Sealer | null = null, records: number = PACK_CUT.records) {
    this.#sealer = sealer;
    this.#records = records;
  }

  /** A pack that is full, before `object` goes to the next one; or null. */
  async add(object: StoredObject): Promise<WrittenPack | null> {
    const length = recordLength(object);
    if (length > PACK_LIMITS.raw) {
      throw new VlinderError(
        "too_large",
        `the ${object.kind} ${object.hash} of ${object.bytes.length} bytes fits no pack`,
        {
          remedy: "a single object may have 64 MiB: make the change in several smaller ones",
          details: { kind: object.kind, hash: object.hash, size: object.bytes.length, limit: PACK_LIMITS.raw },
        },
      );
    }
    const full =
      this.#raw > 0 && (this.#raw + length > PACK_CUT.hardRaw || this.#objects.length === PACK_LIMITS.records);
    const pack = full ? await this.finish() : null;
    this.#objects.push(object);
    this.#raw += length;
    return pack;
  }

  /** To be called where a cut is good: a pack when it is large enough, else null. */
  async boundary(): Promise<WrittenPack | null> {
    return this.#raw >= PACK_CUT.raw || this.#objects.length >= this.#records ? this.finish() : null;
  }

  /** What is left; null when there is nothing. */
  async finish(): Promise<WrittenPack | null> {
    const objects = this.#objects;
    if (objects.length === 0) return null;
    this.#objects = [];
    this.#raw = 0;
    return { ...(await encodePack(objects, true, this.#sealer)), objects };
  }
}
