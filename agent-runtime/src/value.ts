import { type GetReply, type Hash, type Json, VlinderError } from "@vlinder/protocol";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What a key held at one state. An empty value is a value; a missing key is `null` instead of this. */
export class Value {
  /** Like other bytes of Node they may be a part of a larger buffer: use `byteOffset` where you use `buffer`. */
  readonly bytes: Uint8Array;
  /** SHA-256 of the bytes; pass it as `expect` to write only if nobody else has. */
  readonly hash: Hash;
  readonly size: number;
  /** The commit at which it was read. */
  readonly state: Hash;

  constructor(reply: GetReply) {
    const { value } = reply;
    // A copy, where the reply's bytes are a view of a message that may hold a thousand values. Small
    // ones share memory, since each of its own costs more than all the rest of a get.
    const own = value.length === value.buffer.byteLength ? value : Buffer.from(value);
    this.bytes = new Uint8Array(own.buffer, own.byteOffset, own.length);
    this.hash = reply.hash;
    this.size = reply.size;
    this.state = reply.state;
  }

  /** @throws invalid, when the bytes are not UTF-8 */
  text(): string {
    try {
      return utf8.decode(this.bytes);
    } catch (cause) {
      throw new VlinderError("invalid", "the value is not UTF-8 text", { cause, remedy: "read its bytes" });
    }
  }

  /** The value as JSON. The type is what the caller says it is. @throws invalid, when it is not JSON */
  json<T = Json>(): T {
    const text = this.text();
    try {
      return JSON.parse(text) as T;
    } catch (cause) {
      throw new VlinderError("invalid", "the value is not JSON", { cause, remedy: "read its bytes or text" });
    }
  }
}
