/*
 * Shards of Xet, as the official client uploads and reads them: records of 48 bytes, little-endian, in two sections that
 * each end with a bookend, and a footer.
 */
const TAG = Buffer.concat([
  Buffer.from("HFRepoMetaData\0", "latin1"),
  Buffer.from([85, 105, 103, 69, 106, 123, 129, 87, 131, 165, 189, 217, 92, 205, 209, 74, 169]),
]);
const RECORD = 48;
const FOOTER = 200;
const BOOKEND = Buffer.concat([Buffer.alloc(32, 0xff), Buffer.alloc(16)]);
const WITH_VERIFICATION = 0x80000000;
const WITH_METADATA = 0x40000000;

/** Xorb's hash, 32 bytes as hex → its records: one of its own, and one of each chunk. */
export type Xorbs = ReadonlyMap<string, Buffer>;

export interface ShardFile {
  /** As the Hub writes it (`xetHash`). */
  readonly hash: string;
  /** The xorbs that it is made of, in order; one stands here as often as the file comes back to it. */
  readonly terms: readonly string[];
}

interface ReadShard {
  readonly files: readonly ShardFile[];
  readonly xorbs: Xorbs;
}

/** @throws Error: not such a shard */
export function readShard(bytes: Uint8Array): ReadShard {
  const records = new Records(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  if (!records.next().subarray(0, TAG.length).equals(TAG)) throw new Error("not a shard");
  const files: ShardFile[] = [];
  for (let record = records.next(); !record.equals(BOOKEND); record = records.next()) {
    const hash = hashText(record);
    const flags = record.readUInt32LE(32);
    const count = record.readUInt32LE(36);
    const terms = Array.from({ length: count }, () => records.next().toString("hex", 0, 32));
    const more = ((flags & WITH_VERIFICATION) === 0 ? 0 : count) + ((flags & WITH_METADATA) === 0 ? 0 : 1);
    records.skip(more);
    files.push({ hash, terms });
  }
  const xorbs = new Map<string, Buffer>();
  for (let record = records.next(); !record.equals(BOOKEND); record = records.next()) {
    const chunks = records.skip(record.readUInt32LE(36));
    xorbs.set(record.toString("hex", 0, 32), Buffer.concat([record, chunks]));
  }
  return { files, xorbs };
}

/** A shard that tells the client of these xorbs, with their chunks' own hashes, and of no file. */
export function makeShard(xorbs: Xorbs): Buffer {
  const header = Buffer.alloc(RECORD);
  TAG.copy(header);
  header.writeBigUInt64LE(2n, 32);
  header.writeBigUInt64LE(BigInt(FOOTER), 40);
  const body = Buffer.concat([header, BOOKEND, ...xorbs.values(), BOOKEND]);
  const footer = Buffer.alloc(FOOTER);
  // The client reads xorbs up to where the lookup tables begin, of which there are none.
  const offsets = [1, RECORD, RECORD * 2, body.length, 0, body.length, 0, body.length, 0];
  for (const [i, value] of offsets.entries()) footer.writeBigUInt64LE(BigInt(value), i * 8);
  footer.writeBigUInt64LE(BigInt(body.length), 192);
  return Buffer.concat([body, footer]);
}

/** Raw bytes of a xorb's chunks. */
export function xorbBytes(records: Buffer): number {
  return records.readUInt32LE(40);
}

/** Four little-endian numbers, each as 16 hex digits. */
function hashText(record: Buffer): string {
  return [0, 8, 16, 24].map((at) => record.readBigUInt64LE(at).toString(16).padStart(16, "0")).join("");
}

class Records {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  next(): Buffer {
    return this.skip(1);
  }

  skip(count: number): Buffer {
    const end = this.#at + count * RECORD;
    if (end > this.#bytes.length) throw new Error("a shard that is cut");
    const records = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return records;
  }
}
