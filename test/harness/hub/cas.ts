import { randomBytes } from "node:crypto";
import { fileHash, getChunks, hashToHex } from "@huggingface/xetchunk-wasm";
import { byteRanges, type Call, json, onlyQuery, type Reply, type Route } from "./call.ts";
import { insist, Refusal } from "./refusal.ts";
import { reconstruct } from "./reconstruction.ts";
import { dedupShard, readShard, type XetFile } from "./shard.ts";
import type { Tokens } from "./tokens.ts";
import { plainXorb, readXorb, type Xorb } from "./xorb.ts";
import { XorbStore } from "./xorb-store.ts";

const HASH = "([0-9a-f]{64})";
const EMPTY_FILE: XetFile = { hash: "0".repeat(64), size: 0, terms: [] };
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export interface CasOptions {
  readonly tokens: Tokens;
  readonly folder: string | undefined;
  /** The CAS's own address, for signed URLs. */
  readonly url: () => string;
  /** Seconds. */
  readonly signedUrlLife: number;
}

/** The content-addressed store of Xet: xorbs, and files as terms of them. */
export class Cas {
  readonly #options: CasOptions;
  readonly #store: XorbStore;
  readonly #xorbs = new Map<string, Xorb>();
  readonly #files = new Map<string, XetFile>();
  /** Chunk → a xorb that has it: what a dedup query finds. */
  readonly #chunks = new Map<string, string>();
  readonly #key = randomBytes(32);
  #signedBefore = 0;

  constructor(options: CasOptions) {
    this.#options = options;
    this.#store = new XorbStore(options.folder);
  }

  readonly routes: readonly Route[] = [
    this.#route("GET chunks", "GET", `/v1/chunks/(?:default|default-merkledb)/${HASH}`, (call) => this.#dedup(call)),
    this.#route("POST xorbs", "POST", `/v1/xorbs/default/${HASH}`, (call) => this.#addXorb(call)),
    this.#route("POST shards", "POST", "/v1/shards", (call) => this.#addShard(call)),
    this.#route("GET reconstructions", "GET", `/v2/reconstructions/${HASH}`, (call) => this.#reconstruct(call)),
    this.#route("GET xorb ranges", "GET", `/signed/xorbs/${HASH}`, (call) => this.#ranges(call)),
  ];

  /** A file that a shard has made known. */
  file(hash: string): XetFile | undefined {
    return hash === EMPTY_FILE.hash ? EMPTY_FILE : this.#files.get(hash);
  }

  /** Keeps bytes as a file that a client has uploaded. */
  seed(bytes: Buffer): XetFile {
    if (bytes.length === 0) return EMPTY_FILE;
    const { body, hash } = plainXorb(bytes);
    const xorb = readXorb(body, hash);
    this.#store.put(hash, body);
    this.#xorbs.set(hash, xorb);
    const terms = [{ xorb: hash, start: 0, end: xorb.chunks.length, length: bytes.length }];
    const file = { hash: hashToHex(fileHash(getChunks(bytes))), size: bytes.length, terms };
    this.#files.set(file.hash, file);
    return file;
  }

  /** For tests: xorbs are collected as if no file needed them. */
  collect(): void {
    this.#xorbs.clear();
    this.#chunks.clear();
  }

  /** For tests: signed URLs that were given out so far are refused. */
  expireUrls(): void {
    this.#signedBefore = Date.now() + 1;
  }

  #route(name: string, method: string, path: string, handle: (call: Call) => Reply): Route {
    return { name, method, path: new RegExp(`^/cas${path}$`), handle };
  }

  #dedup(call: Call): Reply {
    onlyQuery(call);
    this.#options.tokens.xet(call.headers.authorization, "read");
    const xorb = this.#xorbs.get(this.#chunks.get(call.params[0] as string) ?? "");
    if (xorb === undefined) throw new Refusal(404, "the chunk is not known");
    const headers = { "Content-Type": "application/octet-stream" };
    return { status: 200, headers, body: dedupShard([xorb], this.#key, Date.now()) };
  }

  #addXorb(call: Call): Reply {
    this.#checkUpload(call);
    const hash = call.params[0] as string;
    const xorb = readXorb(call.body, hash);
    const isNew = !this.#xorbs.has(hash);
    if (isNew) {
      this.#store.put(hash, call.body);
      this.#xorbs.set(hash, xorb);
    }
    return json({ was_inserted: isNew });
  }

  #addShard(call: Call): Reply {
    this.#checkUpload(call);
    const files = readShard(call.body, (hash) => this.#xorbs.get(hash));
    const isNew = files.some(({ hash }) => this.file(hash) === undefined);
    for (const file of files) {
      if (file.size > 0) this.#files.set(file.hash, file);
      for (const { xorb } of file.terms) {
        for (const chunk of this.#xorb(xorb).chunks) this.#chunks.set(chunk.hash, xorb);
      }
    }
    return json({ result: isNew ? 1 : 0 });
  }

  #checkUpload(call: Call): void {
    onlyQuery(call);
    this.#options.tokens.xet(call.headers.authorization, "write");
    const session = call.headers["x-xet-session-id"];
    insist(session === undefined || UUID.test(String(session)), "the session's id is no UUID");
    insist(call.headers["content-encoding"] === undefined, "a body with a content encoding");
  }

  #reconstruct(call: Call): Reply {
    onlyQuery(call);
    this.#options.tokens.xet(call.headers.authorization, "read");
    const file = this.#files.get(call.params[0] as string);
    if (file === undefined) throw new Refusal(404, "the file is not known");
    const ranges = byteRanges(call.headers.range) ?? [[0, file.size - 1]];
    insist(ranges.length === 1, "more than one range of a file");
    const [range] = ranges as [readonly [number, number]];
    return json(
      reconstruct(
        file,
        range,
        (hash) => this.#xorb(hash),
        (hash, spans) => this.#signed(hash, spans.map(({ start, end }) => `${start}-${end}`).join(",")),
      ),
    );
  }

  #signed(hash: string, ranges: string): string {
    const now = Date.now();
    const query = new URLSearchParams({
      "X-Xet-Signed-Range": `bytes=${ranges}`,
      issued: String(now),
      expires: String(now + this.#options.signedUrlLife * 1000),
    });
    query.set("signature", this.#options.tokens.sign(`${hash}?${query.toString()}`));
    return `${this.#options.url()}/signed/xorbs/${hash}?${query.toString()}`;
  }

  /** As a CDN does it: no token, but a signature over the ranges, and one part for each range. */
  #ranges(call: Call): Reply {
    const hash = call.params[0] as string;
    insist(call.headers.authorization === undefined, "a token was sent to the CDN, which must not see it");
    const query = new URLSearchParams(call.query);
    const signature = query.get("signature");
    query.delete("signature");
    const isFresh = Number(query.get("expires")) > Date.now() && Number(query.get("issued")) >= this.#signedBefore;
    if (!isFresh || signature !== this.#options.tokens.sign(`${hash}?${query.toString()}`))
      throw new Refusal(403, "AccessDenied");
    const signed = byteRanges(query.get("X-Xet-Signed-Range") ?? undefined) ?? [];
    const asked = byteRanges(call.headers.range);
    const isSigned = asked?.every(([a, b]) => signed.some(([start, end]) => start === a && end === b)) ?? false;
    if (asked === null || !isSigned) throw new Refusal(403, "the range is not the signed one");
    const total = this.#xorb(hash).bytes;
    const parts = asked.map(([start, end]) => ({
      range: `bytes ${start}-${end}/${total}`,
      bytes: this.#store.read(hash, start, end + 1),
    }));
    const [first, ...more] = parts;
    if (first !== undefined && more.length === 0) {
      return { status: 206, headers: { "Content-Range": first.range }, body: first.bytes };
    }
    const boundary = randomBytes(12).toString("hex");
    const lines = parts.flatMap(({ range, bytes }) => [
      Buffer.from(`\r\n--${boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: ${range}\r\n\r\n`),
      bytes,
    ]);
    const body = Buffer.concat([...lines, Buffer.from(`\r\n--${boundary}--\r\n`)]);
    return { status: 206, headers: { "Content-Type": `multipart/byteranges; boundary=${boundary}` }, body };
  }

  #xorb(hash: string): Xorb {
    const xorb = this.#xorbs.get(hash);
    if (xorb === undefined) throw new Error(`a file refers to the unknown xorb ${hash}`);
    return xorb;
  }
}
