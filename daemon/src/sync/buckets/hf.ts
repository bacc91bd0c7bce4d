import { openAsBlob } from "node:fs";
import type * as Library from "@huggingface/hub";
import { VlinderError } from "@vlinder/protocol";
import type { Bucket, BucketEntry, BucketFile, ByteRange } from "./bucket.ts";
import { collectGarbage } from "./collect-garbage.ts";
import { type HfCall, HfService } from "./hf-service.ts";
import { type HfToken, readHfToken } from "./hf-token.ts";
import { type HfPlace, parseHfUri } from "./hf-uri.ts";
import type { HttpLimits } from "./http-limits.ts";
import { oneAtATime, oneFileAtATime } from "./one-at-a-time.ts";
import { bucketPathParts, checkBucketPrefix } from "./path.ts";
import type { UploadMemory } from "./upload-memory.ts";
import { xetHash, xetHashOf } from "./xet-hash.ts";
import { XetUpload } from "./xet-upload.ts";

/** Paths of a question, and of a batch. */
const MAX_PATHS = 1000;
const MAX_BATCH = 100;
/** Bytes of a commit of more than one file. */
export const MAX_COMMIT = 48 << 20;
/** Of a commit after which the library's buffers, filled with as much, are worth a collection of garbage. */
const GARBAGE = 8 << 20;

export interface HfBucketOptions {
  /** Makes the bucket, private, when it is not there. Only `init` does. */
  readonly create?: boolean;
  /** HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_ENDPOINT. */
  readonly env?: NodeJS.ProcessEnv;
  readonly limits?: Partial<HttpLimits>;
}

/**
 * A Hugging Face Bucket, through the official library. Opening asks nothing of the service unless `create`.
 * @throws invalid (the URI), denied, unavailable
 */
export async function openHfBucket(uri: string, options: HfBucketOptions = {}): Promise<Bucket> {
  const bucket = new HfBucket(uri, parseHfUri(uri), options);
  if (options.create) await bucket.create();
  return bucket;
}

interface FileInfo {
  readonly size: number;
  readonly hash: string | undefined;
}

interface Content {
  readonly path: string;
  readonly content: Blob;
}

/** What every call of the library is given. */
interface CallParams {
  readonly repo: { readonly type: "bucket"; readonly name: string };
  readonly accessToken: string;
  readonly hubUrl: string;
  readonly fetch: typeof fetch;
}

interface Hub {
  readonly library: typeof Library;
  readonly params: CallParams;
  readonly token: HfToken;
}

/**
 * How far nothing is overwritten. The service has no exclusive create: a batch replaces what is there, and the last
 * writer stays. So `put` looks first and refuses other bytes; within this process puts follow one another, so that of many at
 * once one wins. Of two machines that write different bytes under one name between each other's looks, the last write
 * stays. Each looks again after its write: who finds other bytes there is told `conflict`; a machine whose look came before
 * the other's write is not. What sync writes has the hash of its bytes in its name, so two that write one name write the same;
 * `vault.json` is read back and pinned.
 *
 * A batch is not atomic, and 100 files are the most that one holds: a put that failed may have made some.
 */
class HfBucket implements Bucket {
  readonly uri: string;
  readonly #place: HfPlace;
  readonly #env: NodeJS.ProcessEnv;
  readonly #service: HfService;

  constructor(uri: string, place: HfPlace, { env = process.env, limits }: HfBucketOptions) {
    this.uri = uri;
    this.#place = place;
    this.#env = env;
    this.#service = new HfService({ uri, id: place.id, env, ...(limits === undefined ? {} : { limits }) });
  }

  async create(): Promise<void> {
    await this.#doing("making it", async ({ library, params }) => {
      try {
        await library.createRepo({ ...params, visibility: "private" });
      } catch (error) {
        if (statusOf(error) !== 409) throw error;
      }
    });
  }

  async get(path: string, range?: ByteRange): Promise<Buffer | null> {
    bucketPathParts(path);
    return this.#doing(`reading ${path}`, async ({ library, params, token }) => {
      const full = this.#place.prefix + path;
      const info = await library.fileDownloadInfo({ ...params, path: full });
      if (info === null) return null;
      const start = Math.min(range?.start ?? 0, info.size);
      const end = Math.min(range?.end ?? info.size, info.size);
      if (start >= end) return Buffer.alloc(0);
      const xet = info.xet && (await this.#service.xetToken(info.xet.refreshUrl.href, token));
      const blob = await library.downloadFile({
        ...params,
        path: full,
        downloadInfo: info,
        // One after the other: a pack is one or two xorbs.
        parallelDownloads: false,
        ...(xet === undefined ? {} : { xet: { readToken: { ...xet, exp: Date.now() / 1000 + 3600 } } }),
      });
      if (blob === null) return null;
      const bytes = Buffer.from(await blob.slice(start, end).arrayBuffer());
      await this.#checkRead(path, bytes, {
        size: end - start,
        hash: end - start === info.size ? info.xet?.hash : undefined,
      });
      return bytes;
    });
  }

  /** The library checks nothing of what it reads. */
  async #checkRead(path: string, bytes: Buffer, expected: FileInfo): Promise<void> {
    const isWhole = bytes.length === expected.size;
    if (isWhole && (expected.hash === undefined || (await xetHash(bytes)) === expected.hash)) return;
    throw new VlinderError("unavailable", `${path} came damaged from the bucket ${this.uri}`, {
      remedy: "it is tried again; if it stays so, the file is damaged at Hugging Face",
      details: { bucket: this.uri, path },
    });
  }

  async put(files: readonly BucketFile[]): Promise<void> {
    for (const { path } of files) bucketPathParts(path);
    const wanted = await this.#hashed(files);
    if (wanted.size === 0) return;
    await oneAtATime(async () => {
      const before = await this.#info([...wanted.keys()]);
      for (const [path, { hash }] of wanted) this.#checkSame(path, hash, before.get(path));
      const missing = [...wanted].filter(([path]) => !before.has(path));
      if (missing.length === 0) return;
      for (const commit of commits(missing.map(([path, { bytes }]) => ({ path, bytes })))) {
        await this.#upload(
          commit.map(({ path, bytes }) => ({ path, content: new Blob([bytes as Uint8Array<ArrayBuffer>]) })),
        );
        if (commit.reduce((sum, { bytes }) => sum + bytes.length, 0) > GARBAGE) await collectGarbage();
      }
      const after = await this.#info(missing.map(([path]) => path));
      // One that is not shown yet was taken all the same; one that is shown with other bytes was replaced.
      for (const [path, { hash }] of missing) this.#checkSame(path, hash, after.get(path));
    });
  }

  async putFile(path: string, source: string, memory?: UploadMemory): Promise<void> {
    bucketPathParts(path);
    const content = await openAsBlob(source);
    await oneFileAtATime(async () => {
      const before = (await this.#info([path])).get(path);
      if (before !== undefined) return this.#checkSame(path, await xetHashOf(content.stream()), before);
      const hash = await this.#uploadFile({ path, content }, memory);
      this.#checkSame(path, hash, (await this.#info([path])).get(path));
    });
  }

  /** @returns the file's hash */
  async #uploadFile(file: Content, memory: UploadMemory | undefined): Promise<string> {
    const place = `${this.#service.endpoint} ${this.#place.id}`;
    for (let known = (await memory?.recall(place)) ?? new Map<string, Buffer>(); ;) {
      const upload = new XetUpload(known);
      try {
        await this.#upload([file], upload);
      } catch (error) {
        if (!upload.isRefused) throw error;
        // Once more, and all of it.
        await memory?.drop();
        known = new Map<string, Buffer>();
        continue;
      }
      await memory?.keep(place, upload.sent);
      return upload.hash ?? (await xetHashOf(file.content.stream()));
    }
  }

  async sizes(paths: readonly string[]): Promise<ReadonlyMap<string, number>> {
    for (const path of paths) bucketPathParts(path);
    const found = await this.#info(paths);
    return new Map([...found].map(([path, { size }]) => [path, size]));
  }

  async *list(prefix: string): AsyncIterable<BucketEntry> {
    checkBucketPrefix(prefix);
    const start = this.#place.prefix.length;
    // To the Hub a path is the start of names or a folder, which is not documented: the folder above serves both.
    const folder = (this.#place.prefix + prefix).split("/").slice(0, -1).join("/");
    const entries = await this.#doing("listing", async ({ library, params }) => {
      const found: BucketEntry[] = [];
      const listing = library.listFiles({ ...params, recursive: true, ...(folder === "" ? {} : { path: folder }) });
      try {
        for await (const { path, size, type } of listing) {
          if (type !== "file" || !path.startsWith(this.#place.prefix + prefix)) continue;
          found.push({ path: path.slice(start), size: checkedSize(size) });
        }
      } catch (error) {
        if (statusOf(error) !== 404) throw error;
      }
      return found;
    });
    yield* entries;
  }

  async delete(paths: readonly string[]): Promise<void> {
    for (const path of paths) bucketPathParts(path);
    const all = [...new Set(paths)];
    for (let i = 0; i < all.length; i += MAX_BATCH) await this.#delete(all.slice(i, i + MAX_BATCH));
  }

  async revision(): Promise<string | null> {
    return this.#doing("looking for changes", async ({ params }) => {
      const response = await params.fetch(`${params.hubUrl}/api/buckets/${this.#place.id}`, {
        headers: { Authorization: `Bearer ${params.accessToken}` },
      });
      const { updatedAt } = (await response.json()) as { updatedAt?: unknown };
      return typeof updatedAt === "string" ? updatedAt : null;
    });
  }

  async close(): Promise<void> {
    this.#service.close();
  }

  async #hashed(files: readonly BucketFile[]): Promise<Map<string, { bytes: Uint8Array; hash: string }>> {
    const hashed = new Map<string, { bytes: Uint8Array; hash: string }>();
    for (const { path, bytes } of files) {
      const hash = await xetHash(bytes);
      const twin = hashed.get(path);
      this.#checkSame(path, hash, twin && { size: twin.bytes.length, hash: twin.hash });
      hashed.set(path, { bytes, hash });
    }
    return hashed;
  }

  #checkSame(path: string, hash: string, found: FileInfo | undefined): void {
    if (found === undefined || found.hash === hash) return;
    throw new VlinderError("conflict", `the bucket ${this.uri} holds other bytes under ${path}`, {
      remedy: "nothing is overwritten; if that file is damaged, remove it and push again",
      details: { bucket: this.uri, path },
    });
  }

  async #info(paths: readonly string[]): Promise<Map<string, FileInfo>> {
    const { prefix } = this.#place;
    const found = new Map<string, FileInfo>();
    for (let i = 0; i < paths.length; i += MAX_PATHS) {
      const some = paths.slice(i, i + MAX_PATHS).map((path) => prefix + path);
      await this.#doing("looking for files", async ({ library, params }) => {
        for (const { path, size, type, xetHash: hash } of await library.pathsInfo({ ...params, paths: some })) {
          if (type === "file") found.set(path.slice(prefix.length), { size: checkedSize(size), hash });
        }
      });
    }
    return found;
  }

  /** One commit. */
  async #upload(files: readonly Content[], upload?: XetUpload): Promise<void> {
    const controller = new AbortController();
    try {
      await this.#doing(`writing ${files.length} files`, async ({ library, params, token }) => {
        const url = `${params.hubUrl}/api/buckets/${this.#place.id}/xet-write-token`;
        const xet = await this.#service.xetToken(url, token);
        const { signal } = controller;
        const call = this.#service.call(token, { signal, xet, ...(upload === undefined ? {} : { upload }) });
        const content = files.map((file) => ({ path: this.#place.prefix + file.path, content: file.content }));
        try {
          await library.uploadFiles({ ...params, fetch: call.fetch, files: content });
        } catch (error) {
          throw this.#refusal(error, call) ?? error;
        }
      });
    } finally {
      // One worker's failure does not stop the library's others.
      controller.abort();
    }
  }

  async #delete(paths: readonly string[]): Promise<void> {
    try {
      await this.#send(paths);
    } catch (error) {
      if (!(error instanceof VlinderError) || error.details["partial"] !== true) throw error;
      // Whether a file that is not there fails its batch is not documented.
      const left = [...(await this.#info(paths)).keys()];
      if (left.length > 0) await this.#send(left);
    }
  }

  async #send(paths: readonly string[]): Promise<void> {
    await this.#doing(`deleting ${paths.length} files`, ({ library, params }) =>
      library.deleteFiles({ ...params, paths: paths.map((path) => this.#place.prefix + path) }),
    );
  }

  /** Why the Hub did not take some of a batch's files; undefined when that is not what happened. */
  #refusal(error: unknown, { refused }: HfCall): VlinderError | undefined {
    const [first] = refused;
    if (first === undefined || error instanceof VlinderError) return undefined;
    return new VlinderError("unavailable", `the bucket ${this.uri} refused ${refused.length} of them: ${first.error}`, {
      remedy: "it is tried again; if it stays so, see what the service says",
      details: { bucket: this.uri, path: first.path, partial: true },
    });
  }

  async #doing<T>(what: string, work: (hub: Hub) => Promise<T>): Promise<T> {
    const token = await readHfToken(this.#env);
    const call = this.#service.call(token);
    const library = await import("@huggingface/hub");
    const params: CallParams = {
      repo: { type: "bucket", name: this.#place.id },
      accessToken: token.token,
      hubUrl: this.#service.endpoint,
      fetch: call.fetch,
    };
    try {
      return await work({ library, params, token });
    } catch (error) {
      throw this.#refusal(error, call) ?? this.#service.error(error, what, token);
    }
  }
}

/**
 * Files by commits. The library's five workers draw files from one source; when one fails while the others still draw, they wait
 * for each other for ever, with a timer every millisecond. A worker asks the network while it draws only for a token (given
 * before), a dedup query (answered here), and to send a xorb that is full, at 64 MiB: which a commit of less never is.
 */
function commits(files: readonly BucketFile[]): BucketFile[][] {
  const all: BucketFile[][] = [];
  let bytes = 0;
  for (const file of files) {
    const last = all.at(-1);
    bytes += file.bytes.length;
    if (last === undefined || last.length === MAX_BATCH || bytes > MAX_COMMIT) {
      all.push([file]);
      bytes = file.bytes.length;
    } else last.push(file);
  }
  return all;
}

function statusOf(error: unknown): unknown {
  return (error as { statusCode?: unknown } | null)?.statusCode;
}

function checkedSize(size: unknown): number {
  if (Number.isSafeInteger(size) && (size as number) >= 0) return size as number;
  throw new Error("the size of a file is no number");
}
