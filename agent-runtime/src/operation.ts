import { checkAgentRequest, MsgpackWriter } from "@vlinder/protocol";
import { bytesOf } from "./content.ts";

/** The fields of a put, get or delete; names are the protocol's. */
export interface Fields {
  readonly key: string;
  readonly value?: string | Uint8Array | undefined;
  readonly expect?: string | null | undefined;
  readonly branch?: string | undefined;
  readonly at?: string | undefined;
  readonly turn?: string | undefined;
  readonly id?: string | undefined;
}

/**
 * An operation as it travels, checked and encoded when it is asked for: what the caller does to its bytes
 * while they wait changes nothing, and no other copy of them is made.
 */
export interface Operation {
  readonly op: "put" | "get" | "delete";
  readonly key: string;
  /** How many fields there are in `body`: what stands in a MessagePack map. Its `op` is not among them. */
  readonly fields: number;
  readonly body: Uint8Array;
}

const writer = new MsgpackWriter();

/** @throws invalid, too_large: what the daemon would say, so that one bad operation stops no other */
export function operation(op: Operation["op"], asked: Fields): Operation {
  const { key, value, expect, branch, at, turn, id } = asked;
  const bytes = op === "put" ? bytesOf(value) : undefined;
  checkAgentRequest(`kv.${op}`, bytes === undefined ? asked : { ...asked, value: bytes });
  writer.begin();
  let fields = 1;
  writer.text("key");
  writer.text(key);
  if (bytes !== undefined) {
    fields++;
    writer.text("value");
    writer.binary(bytes);
  }
  // Null means something here, and undefined nothing.
  if (expect !== undefined) {
    fields++;
    writer.text("expect");
    writer.value(expect);
  }
  fields += optional("branch", branch) + optional("at", at) + optional("turn", turn) + optional("id", id);
  return { op, key, fields, body: writer.take() };
}

function optional(name: string, text: string | undefined): 0 | 1 {
  if (text === undefined) return 0;
  writer.text(name);
  writer.text(text);
  return 1;
}

/** The body of `kv.put`, `kv.get` or `kv.delete`. */
export function alone({ fields, body }: Operation): Uint8Array {
  writer.begin();
  writer.map(fields);
  writer.raw(body);
  return writer.take();
}

/** The body of `kv.pipeline`. */
export function together(operations: readonly Operation[]): Uint8Array {
  writer.begin();
  writer.map(1);
  writer.text("ops");
  writer.array(operations.length);
  for (const { op, fields, body } of operations) {
    writer.map(fields + 1);
    writer.text("op");
    writer.text(op);
    writer.raw(body);
  }
  return writer.take();
}
