import { encodeBody, type Encoding, LIMITS, type PipelineResult, VlinderError } from "@vlinder/protocol";

/** What a result without a value takes at most, in either encoding; so does the error in place of one that is too large. */
const SMALL = 400;
/** JSON writes a control character as six, and bytes as base64. */
const JSON_GROWTH = 6;

/** What does not fit in one reply is `too_large`, each by itself; a small result always fits. */
export function fitting(results: readonly PipelineResult[], encoding: Encoding): readonly PipelineResult[] {
  let room = LIMITS.replyBytes - 1024 - SMALL * results.length;
  const growth = encoding === "json" ? JSON_GROWTH : 1;
  // Most replies are far from the limit, and need not be encoded to know it.
  if (results.reduce((sum, result) => sum + most(result, growth), 0) <= room) return results;
  return results.map((result) => {
    const size = encodeBody(result, encoding).length;
    const more = Math.max(0, size - SMALL);
    if (more <= room) {
      room -= more;
      return result;
    }
    return "ok" in result ? tooLarge(size) : shortened(result.error);
  });
}

function most(result: PipelineResult, growth: number): number {
  if ("error" in result) return Number.POSITIVE_INFINITY;
  return "value" in result.ok ? growth * result.ok.value.length : 0;
}

function tooLarge(size: number): PipelineResult {
  const error = new VlinderError("too_large", "the value does not fit in the reply of this pipeline", {
    details: { size },
    remedy: "get it with a request of its own",
  });
  return { error: error.toBody() };
}

/** An error that names long keys: its code says enough, and hiding that one behind `too_large` would mislead. */
function shortened({ code, retryable }: Extract<PipelineResult, { error: unknown }>["error"]): PipelineResult {
  return { error: { code, message: "the details do not fit in the reply of this pipeline", retryable, details: {} } };
}
