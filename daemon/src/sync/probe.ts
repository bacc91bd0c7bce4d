import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { asVlinderError, type ProbeStep, VlinderError } from "@vlinder/protocol";
import type { Bucket } from "./buckets/bucket.ts";

const BYTES = 4096;
/** Listings may lag: a file that is not seen is looked for again after so many milliseconds each. */
const LOOKS: readonly number[] = [100, 400, 1500, 3000];

interface Step {
  readonly step: ProbeStep["step"];
  /** What a credential must allow for it. */
  readonly right: string;
  readonly work: (looks: readonly number[]) => Promise<void>;
}

/**
 * A round trip with a small file of its own, `probe-<32 hex digits>`: whether all that sync asks of a bucket is allowed there and
 * works. Nothing stays behind, also when it fails in the middle; where the file could not be taken away, the error says so.
 *
 * @returns what was tried, with the milliseconds that it took
 * @throws what the bucket throws, with the step, the right that is missing and what to do
 */
export async function probeBucket(bucket: Bucket, looks: readonly number[] = LOOKS): Promise<ProbeStep[]> {
  const path = `probe-${randomBytes(16).toString("hex")}`;
  const bytes = randomBytes(BYTES);
  const tried: ProbeStep[] = [];
  for (const { step, right, work } of stepsOf(bucket, path, bytes)) {
    const started = performance.now();
    try {
      await work(looks);
    } catch (thrown) {
      throw failed(bucket, step, right, asVlinderError(thrown), tried, (await isAway(bucket, path)) ? null : path);
    }
    tried.push({ step, milliseconds: Math.round(performance.now() - started) });
  }
  return tried;
}

function stepsOf(bucket: Bucket, path: string, bytes: Buffer): Step[] {
  const differs = (what: string): VlinderError =>
    new VlinderError("unavailable", `${what} of ${path} gave other bytes than were written`, { retryable: false });
  return [
    { step: "write", right: "to write files", work: () => bucket.put([{ path, bytes }]) },
    {
      step: "look",
      right: "to read files' sizes",
      work: (looks) => seen(looks, path, async () => (await bucket.sizes([path])).get(path) === bytes.length),
    },
    {
      step: "list",
      right: "to list files",
      work: (looks) => seen(looks, path, () => isListed(bucket, path)),
    },
    {
      step: "read",
      right: "to read files",
      work: async () => {
        if (!(await bucket.get(path))?.equals(bytes)) throw differs("a read");
      },
    },
    {
      step: "read part",
      right: "to read parts of files",
      work: async () => {
        const part = await bucket.get(path, { start: 1000, end: 1100 });
        if (!part?.equals(bytes.subarray(1000, 1100))) throw differs("a read of a part");
      },
    },
    { step: "delete", right: "to delete files", work: () => bucket.delete([path]) },
    {
      step: "gone",
      right: "to delete files",
      work: async (looks) => {
        for (const wait of [...looks, null]) {
          if ((await bucket.get(path)) === null) return;
          if (wait !== null) await sleep(wait);
        }
        throw new VlinderError("unavailable", `${path} was deleted and is still there`, { retryable: false });
      },
    },
  ];
}

async function isListed(bucket: Bucket, path: string): Promise<boolean> {
  for await (const entry of bucket.list("probe-")) if (entry.path === path) return true;
  return false;
}

async function seen(looks: readonly number[], path: string, look: () => Promise<boolean>): Promise<void> {
  for (const wait of [...looks, null]) {
    if (await look()) return;
    if (wait !== null) await sleep(wait);
  }
  throw new VlinderError("unavailable", `${path} was written and is not there`, { retryable: false });
}

/** Takes the file away once more, whatever happened before: a put that failed may have come true. */
async function isAway(bucket: Bucket, path: string): Promise<boolean> {
  try {
    await bucket.delete([path]);
    return (await bucket.get(path)) === null;
  } catch {
    return false; // the first error is the one to tell
  }
}

function failed(
  bucket: Bucket,
  step: ProbeStep["step"],
  right: string,
  error: VlinderError,
  tried: readonly ProbeStep[],
  left: string | null,
): VlinderError {
  const denied = error.code === "denied";
  const what = denied ? `the right ${right} is missing there` : `${error.message}`;
  const remedy = denied
    ? `allow it for the credentials in use, or use others: sync needs to write, list, read and delete; then run vlinder init again` +
      (error.remedy === undefined ? "" : ` (${error.remedy})`)
    : (error.remedy ?? "check the bucket; then run vlinder init again");
  return new VlinderError(
    error.code,
    `the bucket ${bucket.uri} can't be used: the trial's step "${step}" failed: ${what}`,
    {
      remedy: left === null ? remedy : `${remedy}; the trial's file ${left} may still be there: it can be deleted`,
      details: { ...error.details, bucket: bucket.uri, step, right, tried, left },
      retryable: error.retryable,
      cause: error,
    },
  );
}
