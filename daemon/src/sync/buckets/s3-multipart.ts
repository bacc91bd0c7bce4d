import type { FileHandle } from "node:fs/promises";
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { VlinderError } from "@vlinder/protocol";
import { parallel } from "./parallel.ts";
import type { S3Connection } from "./s3-connection.ts";
import { isNotImplemented, s3Code, s3Status } from "./s3-error.ts";

/** Bytes of a part. The services agree on that all but the last have at least 5 MiB, and that there are at most so many. */
export const PART = 8 << 20;
const MAX_PARTS = 10_000;
/** Parts under way: what is in memory of a file. */
export const AT_ONCE = 2;
/** Tries of the end of an upload, whose faults may come under 200, unseen by who repeats requests. */
const ENDINGS = 3;
/** For taking an upload back, in milliseconds: the daemon waits for it when it stops. */
const PATIENCE = 5_000;

/** An open file of this machine, which does not change, and where it goes. */
export interface LargeFile {
  readonly source: FileHandle;
  readonly size: number;
  readonly path: string;
  readonly key: string;
}

type Place = Pick<LargeFile, "key" | "path">;

/** `exists`: there is a file of that name; `gone`: the service does not know the upload, as after a reply that was lost. */
export type Completion = "made" | "exists" | "gone";

/** So that a file of any size has no more parts than it may. */
export function partSize(size: number, part = PART): number {
  return Math.max(part, Math.ceil(size / MAX_PARTS));
}

/**
 * Puts a file as a multipart upload, two parts at a time. One that fails or is broken off is taken back, when nothing of it is under
 * way any more, so that no parts stay that the account pays for. (A create whose reply was lost leaves an upload without parts.)
 */
export class S3Multipart {
  readonly #connection: S3Connection;
  readonly #bucket: string;
  readonly #uri: string;
  readonly #part: number;

  constructor(connection: S3Connection, { bucket, uri, part }: { bucket: string; uri: string; part: number }) {
    this.#part = part;
    this.#connection = connection;
    this.#bucket = bucket;
    this.#uri = uri;
  }

  /** @throws unavailable, denied: nothing is there, or all, when it is the answer to the last request that was lost */
  async put(file: LargeFile, signal: AbortSignal): Promise<Completion> {
    const upload = await this.#create(file, signal);
    try {
      return await this.#complete(file, upload, await this.#parts(file, upload, signal), signal);
    } catch (error) {
      if (isGone(error)) return "gone";
      await this.#takeBack(file, upload);
      throw error;
    }
  }

  async #create({ key, path }: LargeFile, signal: AbortSignal): Promise<string> {
    const input = { Bucket: this.#bucket, Key: key, ContentType: "application/octet-stream" };
    const { UploadId: upload } = await this.#connection.send(`beginning to write ${path}`, (client) =>
      client.send(new CreateMultipartUploadCommand(input), { abortSignal: signal }),
    );
    if (upload === undefined) throw this.#notS3(`the upload of ${path} has no id`);
    return upload;
  }

  async #parts(file: LargeFile, upload: string, signal: AbortSignal): Promise<CompletedPart[]> {
    const { path, key, size } = file;
    const bytes = partSize(size, this.#part);
    const done: CompletedPart[] = [];
    const numbers = Array.from({ length: Math.ceil(size / bytes) }, (_, i) => i + 1);
    await parallel(numbers, AT_ONCE, async (number) => {
      signal.throwIfAborted();
      const start = (number - 1) * bytes;
      const input = {
        Bucket: this.#bucket,
        Key: key,
        UploadId: upload,
        PartNumber: number,
        Body: await this.#read(file, start, Math.min(start + bytes, size)),
      };
      const { ETag: tag } = await this.#connection.send(
        `writing part ${number} of ${path}`,
        (client) => client.send(new UploadPartCommand(input), { abortSignal: signal }),
        isGone,
      );
      if (tag === undefined) throw this.#notS3(`part ${number} of ${path} has no tag`);
      done[number - 1] = { PartNumber: number, ETag: tag };
    });
    return done;
  }

  async #read({ path, source }: LargeFile, start: number, end: number): Promise<Buffer> {
    const bytes = Buffer.alloc(end - start);
    for (let at = 0; at < bytes.length;) {
      const { bytesRead } = await source.read(bytes, at, bytes.length - at, start + at);
      if (bytesRead === 0) {
        throw new VlinderError("unavailable", `what is sent as ${path} became shorter meanwhile`, {
          remedy: "it is tried again with a new copy",
        });
      }
      at += bytesRead;
    }
    return bytes;
  }

  /** With exclusive create where the service has that for whole uploads: whether it has is not the same as for a put. */
  async #complete(file: Place, upload: string, parts: CompletedPart[], signal: AbortSignal): Promise<Completion> {
    const input = { Bucket: this.#bucket, Key: file.key, UploadId: upload, MultipartUpload: { Parts: parts } };
    let condition: { IfNoneMatch?: string } = { IfNoneMatch: "*" };
    const expects = (error: unknown): boolean =>
      isGone(error) || (condition.IfNoneMatch !== undefined && (s3Status(error) === 412 || isNotImplemented(error)));
    for (let n = 1; ; n++) {
      try {
        await this.#connection.send(
          `ending the upload of ${file.path}`,
          (client) =>
            client.send(new CompleteMultipartUploadCommand({ ...input, ...condition }), { abortSignal: signal }),
          expects,
        );
        return "made";
      } catch (error) {
        if (!isGone(error) && expects(error)) {
          if (s3Status(error) === 412) {
            await this.#takeBack(file, upload);
            return "exists";
          }
          condition = {};
        } else if (n >= ENDINGS || !isFault(error)) throw error;
      }
    }
  }

  /** What it was taken back for is what is told. */
  async #takeBack({ key, path }: Place, upload: string): Promise<void> {
    const input = { Bucket: this.#bucket, Key: key, UploadId: upload };
    try {
      await this.#connection.send(`taking back the upload of ${path}`, (client) =>
        client.send(new AbortMultipartUploadCommand(input), { abortSignal: AbortSignal.timeout(PATIENCE) }),
      );
    } catch {
      // The service has ended it, or will: docs/s3.md.
    }
  }

  #notS3(what: string): VlinderError {
    return new VlinderError("unavailable", `the bucket ${this.#uri} answered as no S3 service does: ${what}`, {
      remedy: "what answers there may be no S3 service: check the endpoint",
      details: { bucket: this.#uri },
      retryable: false,
    });
  }
}

function isFault(error: unknown): boolean {
  return error instanceof VlinderError && Number(error.details["status"]) >= 500 && error.retryable;
}

function isGone(error: unknown): boolean {
  return s3Status(error) === 404 && s3Code(error) === "NoSuchUpload";
}
