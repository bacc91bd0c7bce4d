import type { Block } from "./block.ts";

/** Bits of a move's flags; packed-transaction.ts has the whole layout. */
export const FLAG = { expected: 1, next: 2, sealedGiven: 4, sealed: 8 } as const;

export interface UnpackedMove {
  readonly id: Buffer;
  readonly name: string;
  readonly expected: Buffer | null;
  readonly next: Buffer | null;
  /** Null: as it is. */
  readonly sealed: boolean | null;
  readonly deleted: readonly Buffer[];
  readonly time: number;
  readonly why: string;
}

export interface UnpackedNote {
  readonly name: string;
  /** Null: it is forgotten. */
  readonly bytes: Buffer | null;
}

export interface UnpackedTransaction {
  readonly blocks: readonly Block[];
  readonly branches: readonly UnpackedMove[];
  readonly notes: readonly UnpackedNote[];
}

/** What `packTransaction` packed; hashes and bytes are views of the buffer. @throws Error when it is damaged */
export function unpackTransaction(buffer: ArrayBuffer): UnpackedTransaction {
  const from = new Unpacker(buffer);
  const counts = [from.uint32(), from.uint32(), from.uint32()];
  const blocks = times(counts[0], () => {
    const [head, data] = [from.uint32(), from.uint32()];
    return { head: from.bytes(head), data: from.bytes(data) };
  });
  const branches = times(counts[1], () => unpackMove(from));
  const notes = times(counts[2], () => {
    const name = from.bytes(from.uint32()).toString("utf8");
    const isThere = from.byte() !== 0;
    const bytes = from.bytes(from.uint32());
    return { name, bytes: isThere ? bytes : null };
  });
  from.end();
  return { blocks, branches, notes };
}

function unpackMove(from: Unpacker): UnpackedMove {
  const id = from.bytes(32);
  const flags = from.byte();
  const expected = from.bytes(32);
  const next = from.bytes(32);
  const time = from.double();
  const name = from.bytes(from.uint32()).toString("utf8");
  const why = from.bytes(from.uint32()).toString("utf8");
  const deleted = times(from.uint32(), () => from.bytes(32));
  return {
    id,
    name,
    expected: (flags & FLAG.expected) === 0 ? null : expected,
    next: (flags & FLAG.next) === 0 ? null : next,
    sealed: (flags & FLAG.sealedGiven) === 0 ? null : (flags & FLAG.sealed) !== 0,
    deleted,
    time,
    why,
  };
}

/** Not `Array.from({ length })`: a damaged count would allocate before the first item is found missing. */
function times<T>(count: number | undefined, item: () => T): T[] {
  const items: T[] = [];
  for (let index = 0; index < (count ?? 0); index++) items.push(item());
  return items;
}

class Unpacker {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(buffer: ArrayBuffer) {
    this.#bytes = Buffer.from(buffer);
  }

  bytes(length: number): Buffer {
    const start = this.#at;
    if (start + length > this.#bytes.length) throw new Error("a packed transaction is cut short");
    this.#at = start + length;
    return this.#bytes.subarray(start, this.#at);
  }

  byte(): number {
    return this.bytes(1).readUInt8();
  }

  uint32(): number {
    return this.bytes(4).readUInt32LE();
  }

  double(): number {
    return this.bytes(8).readDoubleLE();
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new Error("a packed transaction has bytes left over");
  }
}
