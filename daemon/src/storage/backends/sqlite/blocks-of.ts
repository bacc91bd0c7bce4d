import { type Hash, VlinderError } from "@vlinder/protocol";
import { KINDS, type StoredObject, type StoredReply } from "../../object-storage.ts";
import { deltaOf, SLOT, SLOT_BYTES, slotHas } from "./block.ts";
import { SLOTS } from "./location.ts";
import { hashPrefix, PrefixTable } from "./prefix-table.ts";
import { replyKey } from "./reply-key.ts";
import { REPLY_SHELF, SHELVES } from "./schema.ts";

/** What a row may have so that it fits on a page of SQLite. */
const PAGE_ROOM = 4040;
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
  has(shelf: number, hash: Buffer, prefix: number): boolean;
  /** An object, itself stored whole, that resembles the one with this hash. */
  base(shelf: number, hash: Hash): Base | null;
}

/** A block on its way, and the objects in it, a slot each. */
export interface NewBlock {
  readonly head: Buffer;
  readonly items: readonly Item[];
  /** Bytes of `data`. */
  readonly size: number;
}

/** An object on its way. `base`: its stored form is a delta on it. */
export interface Item {
  readonly shelf: number;
  readonly hash: Hash;
  readonly bytes: Uint8Array;
  readonly delta: Buffer | null;
  readonly base: Base | null;
  /** Where its slot is in the list of all. */
  readonly slot: number;
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
  const slots = Buffer.allocUnsafe((objects.length + replies.length) * SLOT_BYTES);
  const prefixes = new PrefixTable(objects.length + replies.length);
  const shelves: Item[][] = SHELVES.map(() => []);
  let count = 0;
  const isNew = (shelf: number, hash: Hash): boolean => {
    const at = count * SLOT_BYTES;
    const written = hash.length === 64 ? slots.write(hash, at + 1, 32, "hex") : 0;
    if (written !== 32) throw new VlinderError("invalid", `not a hash: ${JSON.stringify(hash).slice(0, 80)}`);
    const prefix = hashPrefix(slots, at + 1);
    const bytes = slots.subarray(at + 1, at + 33);
    if (prefixes.has(prefix) && shelves[shelf]?.some((item) => slotHas(slots, item.slot, bytes)) === true) return false;
    if (stored.has(shelf, bytes, prefix)) return false;
    prefixes.add(prefix, 0);
    return true;
  };
  for (const { kind, hash, bytes, like } of objects) {
    if (bytes.length > MAX_OBJECT) throw tooLarge(bytes.length, MAX_OBJECT, "an object");
    const shelf = KINDS.indexOf(kind);
    if (!isNew(shelf, hash)) continue;
    let base = like === undefined ? null : stored.base(shelf, like);
    const delta = base === null ? null : deltaOf(base.bytes, base.location, bytes);
    if (delta === null) base = null;
    const size = delta?.length ?? bytes.length;
    slots[count * SLOT_BYTES] = shelf | (delta === null ? 0 : SLOT.delta);
    slots.writeUInt32LE(size, count * SLOT_BYTES + 33);
    shelves[shelf]?.push({ shelf, hash, bytes, delta, base, slot: count++ });
  }
  for (const { id, request, reply, time } of replies) {
    const hash = replyKey(id);
    if (!isNew(REPLY_SHELF, hash)) continue;
    const bytes = encodeReply(request, reply, time);
    slots[count * SLOT_BYTES] = REPLY_SHELF;
    slots.writeUInt32LE(bytes.length, count * SLOT_BYTES + 33);
    shelves[REPLY_SHELF]?.push({ shelf: REPLY_SHELF, hash, bytes, delta: null, base: null, slot: count++ });
  }
  const replyItems = shelves.pop() ?? [];
  const total = shelves.flat().reduce((sum, item) => sum + SLOT_BYTES + sizeOf(item), 0);
  const groups = total <= PAGE_ROOM ? [shelves.flat()] : shelves;
  return { blocks: [...groups, replyItems].flatMap((items) => cut(items, slots)), prefixes };
}

export function sizeOf({ delta, bytes }: Item): number {
  return delta?.length ?? bytes.length;
}

function cut(items: readonly Item[], slots: Buffer): NewBlock[] {
  const blocks: NewBlock[] = [];
  let inBlock: Item[] = [];
  let size = 0;
  const end = (): void => {
    if (inBlock.length === 0) return;
    const head = Buffer.allocUnsafe(inBlock.length * SLOT_BYTES);
    for (const [at, { slot }] of inBlock.entries()) {
      slots.copy(head, at * SLOT_BYTES, slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES);
    }
    blocks.push({ head, items: inBlock, size });
    inBlock = [];
    size = 0;
  };
  for (const item of items) {
    const bytes = sizeOf(item);
    const room = bytes < LARGE ? PAGE_ROOM : LARGE_ROOM;
    if (inBlock.length === SLOTS || size + bytes + (inBlock.length + 1) * SLOT_BYTES > room) end();
    inBlock.push(item);
    size += bytes;
  }
  end();
  return blocks;
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
