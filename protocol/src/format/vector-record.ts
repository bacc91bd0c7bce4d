import { invalid, VlinderError } from "../errors.ts";
import { canonicalJson, type Json, parseCanonicalJson } from "../canonical.ts";
import { asBuffer } from "../hash.ts";
import { LIMITS } from "../limits.ts";
import { refuseNewerFormat } from "./version.ts";

export type Metadata = { readonly [name: string]: Json };

/** What a vector key holds: the embedding, who made it, and what it is about. */
export interface VectorRecord {
  /** Components as float32. */
  readonly vector: Float32Array;
  /** Name of the embedding model, or empty. */
  readonly model: string;
  readonly metadata: Metadata;
}

const HEADER = 12;

/**
 * `u8 version=1, u8 0, u16 dimension, u16 bytes of model, u16 0, u32 bytes of metadata`, then the
 * components as float32, the model's name as UTF-8, the metadata as canonical JSON; little-endian.
 * @throws invalid, too_large
 */
export function encodeVectorRecord(record: VectorRecord): Buffer {
  const { vector } = record;
  if (vector.length === 0 || vector.length > LIMITS.dimension) {
    throw invalid(`a vector of ${vector.length} components`, {
      details: { limit: LIMITS.dimension },
      remedy: `a vector has 1 to ${LIMITS.dimension} components`,
    });
  }
  for (const x of vector) {
    if (!Number.isFinite(x))
      throw invalid("a vector's component is not a finite float32", { remedy: "send finite numbers" });
  }
  if (!record.model.isWellFormed()) throw invalid("a model's name must be valid Unicode");
  const model = Buffer.from(record.model, "utf8");
  if (model.length > LIMITS.modelBytes) {
    throw invalid(`a model's name of ${model.length} bytes`, { details: { limit: LIMITS.modelBytes } });
  }
  const metadata = Buffer.from(canonicalJson(record.metadata), "utf8");
  if (metadata.length > LIMITS.metadataBytes) {
    throw new VlinderError("too_large", `metadata of ${metadata.length} bytes`, {
      details: { limit: LIMITS.metadataBytes, size: metadata.length },
      remedy: "keep the text under a key of its own, and its key in the metadata",
    });
  }
  const buffer = Buffer.alloc(HEADER + 4 * vector.length + model.length + metadata.length);
  buffer[0] = 1;
  buffer.writeUInt16LE(vector.length, 2);
  buffer.writeUInt16LE(model.length, 4);
  buffer.writeUInt32LE(metadata.length, 8);
  let at = HEADER;
  for (const x of vector) at = buffer.writeFloatLE(x, at);
  at += model.copy(buffer, at);
  metadata.copy(buffer, at);
  return buffer;
}

/** @throws invalid */
export function decodeVectorRecord(bytes: Uint8Array): VectorRecord {
  const buffer = asBuffer(bytes);
  refuseNewerFormat("a vector record", buffer[0]);
  if (buffer.length < HEADER || buffer[0] !== 1) throw invalid("not a vector record of format 1");
  const dimension = buffer.readUInt16LE(2);
  const modelBytes = buffer.readUInt16LE(4);
  const metadataAt = HEADER + 4 * dimension + modelBytes;
  const padded = buffer[1] !== 0 || buffer.readUInt16LE(6) !== 0;
  if (padded || dimension === 0 || dimension > LIMITS.dimension || modelBytes > LIMITS.modelBytes) {
    throw invalid("not a vector record");
  }
  if (buffer.length !== metadataAt + buffer.readUInt32LE(8)) throw invalid("not a vector record: its length is wrong");
  const vector = new Float32Array(dimension);
  for (let i = 0; i < dimension; i++) {
    vector[i] = buffer.readFloatLE(HEADER + 4 * i);
    if (!Number.isFinite(vector[i])) throw invalid("not a vector record: a component is not finite");
  }
  const metadata = parseCanonicalJson(buffer.subarray(metadataAt), "vector's metadata");
  if (metadata === null || typeof metadata !== "object" || Array.isArray(metadata)) {
    throw invalid("not a vector record: metadata is not an object");
  }
  const modelText = buffer.subarray(HEADER + 4 * dimension, metadataAt);
  let model: string;
  try {
    model = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(modelText);
  } catch (cause) {
    throw invalid("not a vector record: the model's name is not UTF-8", { cause });
  }
  return { vector, model, metadata: metadata as Metadata };
}
