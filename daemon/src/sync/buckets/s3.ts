import { readFile, stat } from "node:fs/promises";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { VlinderError } from "@vlinder/protocol";
import type { Bucket, BucketEntry, BucketFile, ByteRange } from "./bucket.ts";
import type { HttpLimits } from "./http-limits.ts";
import { parallel } from "./parallel.ts";
import { bucketPathParts, checkBucketPrefix } from "./path.ts";
import { S3Connection } from "./s3-connection.ts";
import { isNotImplemented, s3Code, s3Error, s3Status } from "./s3-error.ts";
import { collected } from "./collected.ts";
import { isTrial, S3Creation } from "./s3-creation.ts";
import { S3Files } from "./s3-files.ts";
import { S3_KNOWLEDGE, type S3Knowledge } from "./s3-knowledge.ts";
import { AT_ONCE, PART, S3Multipart } from "./s3-multipart.ts";
import { parseS3Uri, type S3Address } from "./s3-uri.ts";

const UPLOADS = 8;
const LOOKUPS = 16;
/** What S3 takes in one delete. */
const DELETES = 1000;

export interface S3BucketOptions {
  /** Makes the bucket, private, when it is not there. Only `init` does. */
  readonly create?: boolean;
  readonly limits?: Partial<HttpLimits>;
  /** Bytes of a part of a large file. Default: 8 MiB. */
  readonly part?: number;
  /** What was found out of services. Default: what this process has. */
  readonly knowledge?: S3Knowledge;
}

/**
 * A bucket in S3, or in what speaks its protocol: `s3://<bucket>[/prefix]?endpoint=…&region=…`. Credentials come from where
 * all tools of AWS take them (docs/s3.md).
 *
 * Nothing is overwritten where the service has exclusive create (`If-None-Match: *`); that is found out, not assumed. Where it has
 * none, a file is looked for before it is written, and writers in one process wait for each other: of two machines that put
 * other bytes under one name in the same moment, one is then overwritten and not told. vlinder's files carry their own hash in the name, so
 * that the same name is the same bytes; only `vault.json`, written once by `init`, does not.
 *
 * @throws invalid; with `create` also unavailable, denied. Without it the first request tells whether the bucket is there.
 */
export async function openS3Bucket(uri: string, options: S3BucketOptions = {}): Promise<Bucket> {
  const address = parseS3Uri(uri);
  const bucket = new S3Bucket(uri, address, options);
  try {
    if (options.create) await bucket.create();
  } catch (error) {
    await bucket.close();
    throw error;
  }
  return bucket;
}

class S3Bucket implements Bucket {
  readonly uri: string;
  readonly #address: S3Address;
  readonly #connection: S3Connection;
  readonly #creation: S3Creation;
  readonly #files: S3Files;
  readonly #part: number;
  #hasBatchDelete = true;

  constructor(uri: string, address: S3Address, { limits, part = PART, knowledge = S3_KNOWLEDGE }: S3BucketOptions) {
    this.uri = uri;
    this.#address = address;
    this.#part = part;
    this.#connection = new S3Connection(uri, address, limits);
    this.#creation = new S3Creation(
      {
        size: (path) => this.#size(path),
        get: (path) => this.get(path),
        put: (path, bytes, isExclusive) => this.#putObject(path, bytes, isExclusive),
        delete: (path) => this.#deleteOne(path),
        uri,
      },
      // Amazon's names of buckets are all different.
      `${address.endpoint ?? ""} ${address.bucket}`,
      knowledge,
    );
    this.#files = new S3Files(
      {
        uri,
        key: (path) => this.#key(path),
        size: (path) => this.#size(path),
        get: (path, range) => this.get(path, range),
      },
      new S3Multipart(this.#connection, { bucket: address.bucket, uri, part }),
    );
  }

  async create(): Promise<void> {
    const { bucket, region } = this.#address;
    try {
      await this.#page("", undefined, 1);
    } catch (error) {
      if (!(error instanceof VlinderError) || error.details["code"] !== "NoSuchBucket") throw error;
      const place =
        region === "us-east-1" ? {} : { CreateBucketConfiguration: { LocationConstraint: region as never } };
      const isThere = (reply: unknown): boolean => s3Code(reply) === "BucketAlreadyOwnedByYou";
      try {
        await this.#connection.send(
          "making the bucket",
          (client) => client.send(new CreateBucketCommand({ Bucket: bucket, ...place })),
          isThere,
        );
      } catch (other) {
        if (!isThere(other)) throw other;
      }
    }
  }

  async get(path: string, range?: ByteRange): Promise<Buffer | null> {
    bucketPathParts(path);
    if (range !== undefined && range.end <= range.start) {
      return (await this.#size(path)) === undefined ? null : Buffer.alloc(0);
    }
    const Range = range === undefined ? undefined : `bytes=${range.start}-${range.end - 1}`;
    const input = { Bucket: this.#address.bucket, Key: this.#key(path), Range };
    try {
      return await this.#connection.send(
        `reading ${path}`,
        async (client) => wanted(await this.#body(await client.send(new GetObjectCommand(input)), path), range),
        (error) => isMissing(error) || s3Status(error) === 416,
      );
    } catch (error) {
      if (isMissing(error)) return null;
      if (s3Status(error) === 416) return Buffer.alloc(0);
      throw error;
    }
  }

  async put(files: readonly BucketFile[]): Promise<void> {
    for (const { path } of files) bucketPathParts(path);
    await parallel(files, UPLOADS, (file) => this.#creation.create(file));
  }

  async putFile(path: string, source: string): Promise<void> {
    bucketPathParts(path);
    const { size } = await stat(source);
    // As much is in memory of one that goes in parts.
    if (size > AT_ONCE * this.#part) await this.#files.put(path, source);
    else await this.#creation.create({ path, bytes: await readFile(source) });
  }

  async sizes(paths: readonly string[]): Promise<ReadonlyMap<string, number>> {
    for (const path of paths) bucketPathParts(path);
    const sizes = new Map<string, number>();
    await parallel(paths, LOOKUPS, async (path) => {
      const size = await this.#size(path);
      if (size !== undefined) sizes.set(path, size);
    });
    return sizes;
  }

  async *list(prefix: string): AsyncIterable<BucketEntry> {
    checkBucketPrefix(prefix);
    let token: string | undefined;
    do {
      const page = await this.#page(prefix, token);
      for (const { Key = "", Size = 0 } of page.Contents ?? []) {
        const key = page.EncodingType === "url" ? decoded(Key) : Key;
        const path = key.slice(this.#address.prefix.length);
        // A console makes an empty object of such a name for each folder; and a service might not keep to the prefix.
        if (key.endsWith("/") || !key.startsWith(this.#address.prefix) || !path.startsWith(prefix)) continue;
        if (!isTrial(path)) yield { path, size: Size };
      }
      const next = page.IsTruncated ? page.NextContinuationToken : undefined;
      if (page.IsTruncated && (next === undefined || next === token)) throw this.#notS3("a list that does not go on");
      token = next;
    } while (token !== undefined);
  }

  async delete(paths: readonly string[]): Promise<void> {
    for (const path of paths) bucketPathParts(path);
    for (let i = 0; i < paths.length; i += DELETES) {
      const batch = paths.slice(i, i + DELETES);
      if (batch.length > 1 && this.#hasBatchDelete) this.#hasBatchDelete = await this.#deleteMany(batch);
      if (batch.length === 1 || !this.#hasBatchDelete) await parallel(batch, UPLOADS, (path) => this.#deleteOne(path));
    }
  }

  /** S3 has none: nothing of a bucket changes with what is in it. */
  async revision(): Promise<null> {
    return null;
  }

  async close(): Promise<void> {
    await this.#files.close();
    this.#connection.close();
  }

  #key(path: string): string {
    return this.#address.prefix + path;
  }

  async #page(prefix: string, token?: string, MaxKeys?: number): Promise<ListObjectsV2CommandOutput> {
    const input = {
      Bucket: this.#address.bucket,
      Prefix: this.#key(prefix),
      ContinuationToken: token,
      // Names that XML cannot hold would break the whole list.
      EncodingType: "url" as const,
      MaxKeys,
    };
    const page = await this.#connection.send("listing", (client) => client.send(new ListObjectsV2Command(input)));
    if (page.IsTruncated === undefined && page.KeyCount === undefined) throw this.#notS3("what is no list");
    return page;
  }

  async #body(reply: GetObjectCommandOutput, path: string): Promise<{ bytes: Buffer; isPart: boolean }> {
    const isPart = reply.ContentRange !== undefined;
    try {
      const bytes = await collected(reply.Body as AsyncIterable<Uint8Array> | undefined, reply.ContentLength);
      return { bytes, isPart };
    } catch (error) {
      const said = error instanceof Error ? error.message : "unknown error";
      throw new VlinderError(
        "unavailable",
        `reading ${path} in the bucket ${this.uri} broke off: ${said.slice(0, 200)}`,
        {
          remedy: "check the connection; it is tried again",
          details: { bucket: this.uri, code: "BrokenBody" },
        },
      );
    }
  }

  async #size(path: string): Promise<number | undefined> {
    const input = { Bucket: this.#address.bucket, Key: this.#key(path) };
    const isGone = (error: unknown): boolean => s3Status(error) === 404;
    try {
      const found = await this.#connection.send(
        `looking for ${path}`,
        (client) => client.send(new HeadObjectCommand(input)),
        isGone,
      );
      return found.ContentLength ?? 0;
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  }

  /** `exists` and `unknown` (the service has no such condition) only when it `isExclusive`. */
  async #putObject(path: string, bytes: Uint8Array, isExclusive: boolean): Promise<"made" | "exists" | "unknown"> {
    const input = {
      Bucket: this.#address.bucket,
      Key: this.#key(path),
      Body: bytes,
      ContentType: "application/octet-stream",
      ...(isExclusive ? { IfNoneMatch: "*" } : {}),
    };
    const expects = (error: unknown): boolean => isExclusive && (s3Status(error) === 412 || isNotImplemented(error));
    try {
      await this.#connection.send(`writing ${path}`, (client) => client.send(new PutObjectCommand(input)), expects);
      return "made";
    } catch (error) {
      if (!expects(error)) throw error;
      return s3Status(error) === 412 ? "exists" : "unknown";
    }
  }

  async #deleteOne(path: string): Promise<void> {
    const input = { Bucket: this.#address.bucket, Key: this.#key(path) };
    try {
      await this.#connection.send(
        `deleting ${path}`,
        (client) => client.send(new DeleteObjectCommand(input)),
        isMissing,
      );
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }

  /** False when the service cannot. */
  async #deleteMany(paths: readonly string[]): Promise<boolean> {
    const Objects = paths.map((path) => ({ Key: this.#key(path) }));
    const input = { Bucket: this.#address.bucket, Delete: { Objects, Quiet: true } };
    try {
      const { Errors: [failed] = [] } = await this.#connection.send(
        "deleting",
        (client) => client.send(new DeleteObjectsCommand(input)),
        isNotImplemented,
      );
      if (failed === undefined || failed.Code === "NoSuchKey") return true;
      const { Code: name = "", Message: message = "" } = failed;
      const httpStatusCode = name === "AccessDenied" ? 403 : 500;
      throw s3Error({ name, message, $metadata: { httpStatusCode } }, `deleting ${failed.Key ?? ""}`, this.uri);
    } catch (error) {
      if (isNotImplemented(error)) return false;
      throw error;
    }
  }

  #notS3(what: string): VlinderError {
    return new VlinderError("unavailable", `listing the bucket ${this.uri} was answered with ${what}`, {
      remedy: "what answers there may be no S3 service: check the endpoint",
      details: { bucket: this.uri },
      retryable: false,
    });
  }
}

function isMissing(error: unknown): boolean {
  return s3Status(error) === 404 && s3Code(error) !== "NoSuchBucket";
}

/** Of a service that sent the whole in spite of the range. */
function wanted({ bytes, isPart }: { bytes: Buffer; isPart: boolean }, range?: ByteRange): Buffer {
  return range === undefined || isPart ? bytes : bytes.subarray(range.start, range.end);
}

function decoded(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll("+", " "));
  } catch {
    return key;
  }
}
