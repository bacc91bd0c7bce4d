import { type Hash, sha256, VlinderError } from "@vlinder/protocol";
import { type Kind, KINDS, type ObjectReader, type StoredObject, type Usage } from "../../storage/object-storage.ts";
import { sweepObjects } from "../../storage/sweep.ts";
import { ObjectTable } from "./object-table.ts";

/** How an object was found. `unreadable`: the storage fails where it lies. */
export type Standing = "good" | "damaged" | "missing" | "unreadable";

export interface CheckedBytes {
  readonly standing: Standing;
  /** Null unless good. */
  readonly bytes: Uint8Array | null;
}

const STANDINGS: readonly (Standing | null)[] = [null, "good", "damaged", "missing", "unreadable"];
const STANDING_BITS = 7;
const REACHED = 8;

interface Shelf {
  readonly table: ObjectTable;
  /** Where the sweep found each, of a kind that is read again and again; null: it is not, or the reader does not say. */
  places: Float64Array | null;
  /** All that is there was hashed: what is not in the table is missing. */
  swept: boolean;
  reached: number;
}

/**
 * What is known of the objects of a storage, past every cache: each is read and hashed once, and what came of
 * it is kept in a few bytes. Kinds with many small objects are swept in the order in which they lie; of the others, one is
 * read when it is needed.
 */
export class CheckedObjects {
  readonly reader: ObjectReader;
  /** Read and hashed so far. */
  bytes = 0;
  readonly #shelves: Readonly<Record<Kind, Shelf>>;

  constructor(reader: ObjectReader, counts: Usage["counts"] | null) {
    this.reader = reader;
    const places = (kind: Kind): Float64Array | null =>
      kind === "node" && counts !== null && reader.readAt !== undefined ? new Float64Array(counts[kind]) : null;
    const shelf = (kind: Kind): Shelf => {
      return { table: new ObjectTable(counts?.[kind]), places: places(kind), swept: false, reached: 0 };
    };
    this.#shelves = Object.fromEntries(KINDS.map((kind) => [kind, shelf(kind)])) as Record<Kind, Shelf>;
  }

  /** Hashes all objects of some kinds; `step` gets those of each batch that are good. */
  async sweep(kinds: readonly Kind[], step: (objects: readonly StoredObject[]) => Promise<void> | void): Promise<void> {
    try {
      for await (const batch of sweepObjects(this.reader, ...kinds)) {
        await step(batch.filter((object) => this.#take(this.#shelves[object.kind], object)));
      }
      for (const kind of kinds) this.#shelves[kind].swept = true;
    } catch (error) {
      // Some of it can't be read: which objects these are, reading them one by one will tell.
      if (!isUnreadable(error)) throw error;
    }
  }

  /** How an object is. It counts as reached from now on. */
  reach(kind: Kind, hash: Hash): Standing | Promise<Standing> {
    const shelf = this.#shelves[kind];
    const known = this.#known(shelf, hash);
    if (known === null) return this.read(kind, hash).then(({ standing }) => standing);
    this.#markReached(shelf, hash, known);
    return known;
  }

  /** How an object is, whether or not anything reaches it. */
  standing(kind: Kind, hash: Hash): Standing | Promise<Standing> {
    return this.#known(this.#shelves[kind], hash) ?? this.read(kind, hash).then(({ standing }) => standing);
  }

  /** Whether an object has been reached before. */
  isReached(kind: Kind, hash: Hash): boolean {
    const { table } = this.#shelves[kind];
    const index = table.find(hash);
    return index >= 0 && (table.flags(index) & REACHED) !== 0;
  }

  /** Reads an object that is needed, and hashes it unless that was done. */
  async read(kind: Kind, hash: Hash): Promise<CheckedBytes> {
    const shelf = this.#shelves[kind];
    const known = this.#known(shelf, hash);
    if (known !== null && known !== "good") {
      this.#markReached(shelf, hash, known);
      return { standing: known, bytes: null };
    }
    const { standing, bytes } = await this.#fetch(kind, hash, known === "good");
    if (known === null) shelf.table.setFlags(shelf.table.add(hash), STANDINGS.indexOf(standing));
    this.#markReached(shelf, hash, standing);
    return { standing, bytes: standing === "good" ? bytes : null };
  }

  /** The same at once, of an object that is known to be good; null where the reader can't do that, or it is not. */
  readNow(kind: Kind, hash: Hash): Uint8Array | null {
    const shelf = this.#shelves[kind];
    const index = shelf.table.find(hash);
    if (this.reader.readNow === undefined || index < 0 || standingAt(shelf, index) !== "good") return null;
    const place = shelf.places?.[index];
    try {
      // What came after the sweep has none (0, or undefined behind the end). What has moved since is looked up, too.
      const lying = place ? this.reader.readAt?.(kind, hash, place) : null;
      const bytes = lying ?? this.reader.readNow(kind, hash);
      if (bytes !== null) reachAt(shelf, index, "good");
      return bytes;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      return null;
    }
  }

  /** Takes what was read and hashed elsewhere. */
  record(kind: Kind, hash: Hash, standing: Standing): void {
    const shelf = this.#shelves[kind];
    if (this.#known(shelf, hash) === null) shelf.table.setFlags(shelf.table.add(hash), STANDINGS.indexOf(standing));
    this.#markReached(shelf, hash, standing);
  }

  /** Objects of a kind that were reached and are there. */
  reached(kind: Kind): number {
    return this.#shelves[kind].reached;
  }

  #take({ table, places }: Shelf, { hash, bytes, place }: StoredObject): boolean {
    this.bytes += bytes.length;
    const isGood = hasHash(bytes, hash);
    const index = table.add(hash);
    table.setFlags(index, STANDINGS.indexOf(isGood ? "good" : "damaged"));
    if (places !== null && place !== undefined) places[index] = place;
    return isGood;
  }

  /** Null: nobody has looked yet. */
  #known(shelf: Shelf, hash: Hash): Standing | null {
    const index = shelf.table.find(hash);
    return index < 0 ? (shelf.swept ? "missing" : null) : standingAt(shelf, index);
  }

  #markReached(shelf: Shelf, hash: Hash, standing: Standing): void {
    const index = shelf.table.find(hash);
    if (index >= 0) reachAt(shelf, index, standing);
  }

  async #fetch(kind: Kind, hash: Hash, isHashed: boolean): Promise<CheckedBytes> {
    try {
      const [bytes] = await this.reader.read(kind, [hash]);
      if (bytes == null) return { standing: "missing", bytes: null };
      if (isHashed) return { standing: "good", bytes };
      this.bytes += bytes.length;
      // A chunk list lies under its value's hash, which is that of its parts together.
      return { standing: kind === "list" || hasHash(bytes, hash) ? "good" : "damaged", bytes };
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      return { standing: "unreadable", bytes: null };
    }
  }
}

function standingAt({ table }: Shelf, index: number): Standing | null {
  return STANDINGS[table.flags(index) & STANDING_BITS] ?? null;
}

function reachAt(shelf: Shelf, index: number, standing: Standing): void {
  if ((shelf.table.flags(index) & REACHED) !== 0) return;
  shelf.table.setFlags(index, REACHED);
  if (standing !== "missing") shelf.reached++;
}

/** A damaged database may give something else than bytes, a text for example. */
function hasHash(bytes: unknown, hash: Hash): boolean {
  return bytes instanceof Uint8Array && sha256(bytes) === hash;
}

/** Whether the storage said that it is damaged, and not that it is away. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof VlinderError && error.code === "unavailable" && !error.retryable;
}
