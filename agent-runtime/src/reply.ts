import { asBuffer, decodeBody, ERROR_CODES, type ErrorBody, type ErrorCode, VlinderError } from "@vlinder/protocol";
import type { Reply } from "./mux.ts";

const CODES: ReadonlySet<unknown> = new Set(ERROR_CODES);

/** The body of a reply. @throws the VlinderError that an error reply carries */
export function readReply(reply: Reply): Record<string, unknown> {
  if (reply.error !== null) throw errorOf(reply, reply.error);
  const body = decodeBody(reply.body);
  // On the wire a vector is bytes; here it is numbers.
  if (body["vector"] instanceof Uint8Array) body["vector"] = float32(body["vector"]);
  return body;
}

/** An error as a program gets it, whatever the peer sent. */
export function readError(error: unknown): VlinderError {
  const body = (error ?? {}) as Partial<ErrorBody>;
  if (CODES.has(body.code) && typeof body.message === "string") {
    return VlinderError.fromBody({
      code: body.code as ErrorCode,
      message: body.message,
      retryable: body.retryable === true,
      details: body.details ?? {},
    });
  }
  return new VlinderError("internal", `an error that this release does not know: ${JSON.stringify(error)}`, {
    remedy: "update @vlinder/agent-runtime to the daemon's release",
  });
}

function errorOf(reply: Reply, header: string): VlinderError {
  let body: Record<string, unknown>;
  try {
    body = decodeBody(reply.body);
  } catch (cause) {
    // A NATS service that is no vlinder says it in the header only.
    return new VlinderError("internal", header, { cause });
  }
  return body["error"] === undefined ? new VlinderError("internal", header) : readError(body["error"]);
}

/** The numbers of little-endian bytes, copied: the bytes may start anywhere. */
function float32(bytes: Uint8Array): Float32Array {
  const view = asBuffer(bytes);
  return Float32Array.from({ length: bytes.length >> 2 }, (_, i) => view.readFloatLE(4 * i));
}
