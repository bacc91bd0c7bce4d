import { VlinderError } from "@vlinder/protocol";
import type { Step } from "./gates.ts";

/** What has come no further for so long is said, though it may still come to an end; in milliseconds. */
export const SILENCE = 5 * 60_000;

export function silent(step: Step): VlinderError {
  const text = `the bucket has not answered for ${SILENCE / 60_000} minutes, and a ${step} waits for it`;
  return new VlinderError("timeout", text, {
    remedy: "check the network or the drive; when it answers, it goes on by itself; restart vlinderd when it can't",
  });
}
