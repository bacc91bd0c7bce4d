import { type Hash, sha256, VlinderError } from "@vlinder/protocol";
import type { UploadedOp, UploadedWrite } from "./uploads.ts";

/** A write without the values' bytes. */
export function askedOf({ ops, ...rest }: UploadedWrite): object {
  const asked = ops.map(({ key, value, expect }) => [
    key,
    value !== null && "upload" in value ? value : (value?.hash ?? null),
    expect ?? false,
    expect === undefined,
  ]);
  return { ...rest, asked };
}

export function isPut({ value }: UploadedOp): boolean {
  return value !== null;
}

/** What ops bring; an upload was counted as it came. */
export function sizeOf(ops: readonly UploadedOp[]): number {
  return ops.reduce(
    (sum, { key, value }) => sum + (value === null ? 0 : key.length + ("bytes" in value ? value.bytes.length : 0)),
    0,
  );
}

/** What makes a request the same as another one with its id. */
export function once(id: string | undefined, request: object): { id: string; request: Hash } | undefined {
  return id === undefined ? undefined : { id, request: sha256(JSON.stringify(request)) };
}

/** An id stands for one request. */
export function reusedId(id: string): VlinderError {
  return new VlinderError("conflict", `the id "${id}" was used for another request`, {
    details: { id },
    remedy: "make a new id for each request; use the same one only to repeat it",
  });
}
