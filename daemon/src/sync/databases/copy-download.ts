import { createHash, type Hash as Sum } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { setImmediate as breathe } from "node:timers/promises";
import { invalid, VlinderError } from "@vlinder/protocol";
import type { Bucket } from "../buckets/bucket.ts";
import { type Retries, retrying } from "../retry.ts";
import { AGE_HEAD } from "../vault/age-file.ts";
import { CHUNK, NONCE, PayloadOpener, plainLength, TAG } from "../vault/age-stream.ts";
import type { Sealer } from "../vault/sealer.ts";
import type { CopyFile } from "./manifest.ts";

/** Sealed chunks of a request: 16 MiB, of which as much is in memory as the kind of bucket makes of it. */
const SLICE = 256 * (CHUNK + TAG);
/** What is opened before others are served: 256 KiB, about a millisecond. */
const STEP = 4 * (CHUNK + TAG);

export interface DownloadJob {
  readonly bucket: Bucket;
  /** In the bucket. */
  readonly path: string;
  readonly file: CopyFile;
  /** A new file. */
  readonly target: string;
  /** Null: the file is as it is. */
  readonly sealer: Sealer | null;
  readonly retries: Retries;
  readonly signal: AbortSignal;
  /** Of the file in the bucket, so far. */
  readonly onBytes: (bytes: number) => void;
}

/**
 * Downloads a file slice by slice into a new one, opens what is encrypted, and checks all of it. What it leaves when it throws is good for nothing.
 * @returns bytes of the new file
 * @throws invalid: it is not what its manifest says, or no age file; denied: encrypted to another key; not_found: it is gone; unavailable
 */
export async function downloadCopy(job: DownloadJob): Promise<number> {
  const { bytes, sha256 } = job.file;
  const target = await open(job.target, "wx", 0o600);
  try {
    const sum = createHash("sha256");
    const written = await (job.sealer === null
      ? downloadPlain(job, target, sum)
      : downloadSealed(job, job.sealer, target, sum));
    if (sum.digest("hex") !== sha256) {
      throw invalid(`${job.path} has other bytes than its manifest says`, {
        remedy: "it is damaged, or somebody else may write to the bucket",
        details: { path: job.path, bytes },
      });
    }
    await target.sync();
    return written;
  } finally {
    await target.close();
  }
}

async function downloadPlain(job: DownloadJob, target: FileHandle, sum: Sum): Promise<number> {
  const { bytes } = job.file;
  for (let at = 0; at < bytes; at += SLICE) {
    const slice = await read(job, at, Math.min(at + SLICE, bytes));
    sum.update(slice);
    await target.writeFile(slice);
    job.onBytes(at + slice.length);
  }
  return bytes;
}

async function downloadSealed(job: DownloadJob, sealer: Sealer, target: FileHandle, sum: Sum): Promise<number> {
  const { bytes } = job.file;
  const head = await read(job, 0, Math.min(AGE_HEAD, bytes));
  const { header, key } = await sealer.startOf(head);
  const start = header.length + NONCE;
  const plain = plainLength(bytes - header.length);
  sum.update(head.subarray(0, start));
  const opener = new PayloadOpener(key, head.subarray(header.length, start), bytes - header.length);
  for (let at = start; at < bytes; at += SLICE) {
    const slice = await read(job, at, Math.min(at + SLICE, bytes));
    for (let step = 0; step < slice.length; step += STEP) {
      const part = slice.subarray(step, step + STEP);
      sum.update(part);
      await target.writeFile(Buffer.concat(opener.next(part)));
      await breathe();
    }
    job.onBytes(at + slice.length);
  }
  return plain;
}

async function read({ bucket, path, retries, signal }: DownloadJob, start: number, end: number): Promise<Buffer> {
  return retrying(retries, async () => {
    signal.throwIfAborted();
    const bytes = await bucket.get(path, { start, end });
    if (bytes === null) {
      throw new VlinderError("not_found", `${path} is not in the bucket any more`, {
        remedy: "a newer copy may have taken its place meanwhile: ask again",
        details: { path },
      });
    }
    if (bytes.length === end - start) return bytes;
    throw new VlinderError("unavailable", `${path} is shorter than the bucket says`, {
      remedy: "it is tried again",
      details: { path, start, end, bytes: bytes.length },
    });
  });
}
