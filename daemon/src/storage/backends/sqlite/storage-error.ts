import { VlinderError } from "@vlinder/protocol";
import { type Failure, failureOf } from "./failure.ts";

/** A failure as callers get it. */
export function errorOf({ code, message, remedy, retryable }: Failure, path: string): VlinderError {
  return new VlinderError(code, message, { remedy, retryable, details: { path } });
}

/** Whatever a connection threw, as callers get it, with its cause. */
export function storageError(cause: unknown, path: string): VlinderError {
  if (cause instanceof VlinderError) return cause;
  const { code, message, remedy, retryable } = failureOf(cause, path);
  return new VlinderError(code, message, { remedy, retryable, details: { path }, cause });
}
