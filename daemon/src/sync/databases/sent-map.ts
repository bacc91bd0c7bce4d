import { readFile, rm } from "node:fs/promises";
import { sha256 } from "@vlinder/protocol";
import type { Sent, UploadMemory } from "../buckets/upload-memory.ts";
import { makeShard, readShard, type Xorbs } from "../buckets/xet-shard.ts";
import { writeHomeFile } from "../home-file.ts";

const MAGIC = Buffer.from("VLSENT\x01\0", "latin1");
/** Magic, SHA-256 of what follows, SHA-256 of the place, bytes of the last whole upload, and of those since. */
const HEADER = 8 + 32 + 32 + 8 + 8;
/** Of a database of about 90 GB: what is larger is sent whole. */
const MAX_BYTES = 64 << 20;
/** Bytes in a stretch, on average: with less, reading the file takes many requests. */
const SHORT_STRETCH = 1 << 20;

interface Kept {
  readonly xorbs: Xorbs;
  readonly whole: number;
  readonly since: number;
}

const NOTHING: Kept = { xorbs: new Map(), whole: 0, since: 0 };

/**
 * What a bucket has of a database's last copy, in a file of the home: the shard that the client is answered with. It holds only
 * what the copy that is in the bucket now is made of, which no service collects; so it is as large as that copy asks for,
 * 48 bytes for each 64 KiB. A file that is damaged, of another version or about another place counts as none.
 */
export class SentMap implements UploadMemory {
  readonly #file: string;
  #last: Kept = NOTHING;

  constructor(file: string) {
    this.#file = file;
  }

  async recall(place: string): Promise<Xorbs> {
    this.#last = await this.#read(place);
    return this.#last.xorbs;
  }

  async keep(place: string, sent: Sent): Promise<void> {
    const isWhole = this.#last.xorbs.size === 0;
    const whole = isWhole ? sent.bytes : this.#last.whole;
    const since = isWhole ? 0 : this.#last.since + sent.bytes;
    // Scattered over many xorbs, most of which is not needed any more: what was spared since has paid for sending it once anew.
    const isScattered = since >= whole && whole / sent.stretches < SHORT_STRETCH;
    const shard = makeShard(sent.xorbs);
    if (isScattered || shard.length > MAX_BYTES) return this.drop();
    const head = Buffer.alloc(HEADER);
    MAGIC.copy(head);
    head.write(sha256(place), 40, "hex");
    head.writeBigUInt64LE(BigInt(whole), 72);
    head.writeBigUInt64LE(BigInt(since), 80);
    head.write(sha256(Buffer.concat([head.subarray(40), shard])), 8, "hex");
    try {
      await writeHomeFile(this.#file, Buffer.concat([head, shard]), 0o600);
    } catch {
      // What was sent is there all the same; an older memory would be wrong.
      await this.drop();
    }
  }

  async drop(): Promise<void> {
    this.#last = NOTHING;
    await rm(this.#file, { force: true });
  }

  async #read(place: string): Promise<Kept> {
    try {
      const bytes = await readFile(this.#file);
      if (bytes.length < HEADER || !bytes.subarray(0, 8).equals(MAGIC)) return NOTHING;
      if (sha256(bytes.subarray(40)) !== bytes.toString("hex", 8, 40)) return NOTHING;
      if (sha256(place) !== bytes.toString("hex", 40, 72)) return NOTHING;
      return {
        xorbs: readShard(bytes.subarray(HEADER)).xorbs,
        whole: Number(bytes.readBigUInt64LE(72)),
        since: Number(bytes.readBigUInt64LE(80)),
      };
    } catch {
      // Not there, or not to be read: then all is sent.
      return NOTHING;
    }
  }
}
