import { type Hash, VlinderError } from "@vlinder/protocol";
import { KINDS, type Lineage, type StoredObject, type StoredReply } from "../../object-storage.ts";
import { deltaOf, SLOT_BYTES } from "./block.ts";
import { SLOTS } from "./location.ts";
import { PrefixTable } from "./prefix-table.ts";
import { replyKey } from "./reply-key.ts";
import { REPLY_SHELF, SHELVES } from "./shelves.ts";

/** What a row may have so that it fits on a page of SQLite. */
export const PAGE_ROOM = 4040;
/** Objects from this size on share rows of several pages: one a row would leave half a page empty on each. */
const LARGE = 1000;
const LARGE_ROOM = 16_384;
/** SQLite refuses rows of 1,000,000,000 bytes. */
const MAX_OBJECT = 999_000_000;

/** An object whose bytes may serve as the base of deltas. */
export interface Base {
  readonly location: number;
  readonly bytes: Buffer;
}

/** What the storage has already. */
export interface Stored {
  has(shelf: number, hash: Hash, prefix: number): boolean;
  /** An object, itself stored whole, that resembles the newest stored version. */
  base(shelf: number, lineage: Lineage): Base | null;
}

/** An object on its way. `base`: its stored form is `delta`, on that. */
export interface Item {
  readonly shelf: number;
  readonly hash: Hash;
  readonly prefix: number;
  readonly bytes: Uint8Array;
  readonly delta: Buffer | null;
  readonly base: Base | null;
  readonly lineage: Lineage | undefined;
}

/** What will be a block: its objects, a slot each, and how many bytes they have in `data`. */
export interface NewBlock {
  readonly items: readonly Item[];
  readonly size: number;
}

export interface NewBlocks {
  readonly blocks: readonly NewBlock[];
  readonly prefixes: PrefixTable;
}

/**
 * Cuts what is new of a transaction into blocks: small transactions into one, larger ones by shelf, as what is
 * read together is of one kind. Replies have blocks of their own, since they are dropped.
 * @throws too_large, invalid (a hash that is none)
 */
export function blocksOf(objects: readonly StoredObject[], replies: readonly StoredReply[], stored: Stored): NewBlocks {
  const prefixes = new PrefixTable(objects.length + replies.length);
  const shelves: Item[][] = SHELVES.map(() => []);
  let total = 0;
  const add = (shelf: number, hash: Hash, bytes: Uint8Array, lineage: Lineage | undefined): void => {
    const prefix = prefixOf(hash);
    const items = shelves[shelf] as Item[];
    if (prefixes.has(prefix) && items.some((item) => item.hash === hash)) return;
    if (stored.has(shelf, hash, prefix)) return;
    prefixes.add(prefix, 0);
    const base = lineage === undefined ? null : stored.base(shelf, lineage);
    const delta = base === null ? null : deltaOf(base.bytes, base.location, bytes);
    items.push({ shelf, hash, prefix, bytes, delta, base: delta === null ? null : base, lineage });
    total += SLOT_BYTES + (delta ?? bytes).length;
  };
  for (const { kind, hash, bytes, lineage } of objects) {
    if (bytes.length > MAX_OBJECT) throw tooLarge(bytes.length, MAX_OBJECT, "an object");
    add(KINDS.indexOf(kind), hash, bytes, lineage);
  }
  const small = total <= PAGE_ROOM;
  for (const { id, request, reply, time } of replies) {
    add(REPLY_SHELF, replyKey(id), encodeReply(request, reply, time), undefined);
  }
  const replyItems = shelves.pop() ?? [];
  const groups = small ? [shelves.flat()] : shelves;
  return { blocks: [...groups, replyItems].flatMap(cut), prefixes };
}

function cut(items: readonly Item[]): NewBlock[] {
  const blocks: NewBlock[] = [];
  let start = 0;
  let size = 0;
  for (let at = 0; at < items.length; at++) {
    const { delta, bytes } = items[at] as Item;
    const { length } = delta ?? bytes;
    const room = length < LARGE ? PAGE_ROOM : LARGE_ROOM;
    const count = at - start;
    if (count === SLOTS || (count > 0 && size + length + (count + 1) * SLOT_BYTES > room)) {
      blocks.push({ items: items.slice(start, at), size });
      start = at;
      size = 0;
    }
    size += length;
  }
  if (start < items.length) blocks.push({ items: items.slice(start), size });
  return blocks;
}

/** The number that the first 12 digits are: as `hashPrefix` reads it from bytes. (What is no hash is refused when it is packed.) */
function prefixOf(hash: Hash): number {
  return digits(hash, 0) * 0x1000000 + digits(hash, 6);
}

function digits(hash: Hash, from: number): number {
  let value = 0;
  for (let at = from; at < from + 6; at++) {
    const code = hash.charCodeAt(at);
    value = (value << 4) | (code < 0x3a ? code - 0x30 : code - 0x57);
  }
  return value;
}

/** f64 time, 32 request, reply as UTF-8. */
function encodeReply(request: Hash, reply: string, time: number): Buffer {
  const bytes = Buffer.allocUnsafe(40 + Buffer.byteLength(reply));
  bytes.writeDoubleLE(time, 0);
  if (request.length !== 64 || bytes.write(request, 8, 32, "hex") !== 32) {
    throw new VlinderError("invalid", `not a hash: ${JSON.stringify(request).slice(0, 80)}`);
  }
  bytes.write(reply, 40, "utf8");
  return bytes;
}

export function tooLarge(size: number, limit: number, what: string): VlinderError {
  return new VlinderError("too_large", `${what} of ${size} bytes is larger than ${limit}`, {
    remedy: "store it in parts",
    details: { size, limit },
  });
}
