import type { Client, StoredValue } from "@vlinder/agent-runtime";
import { type AgentName, asVlinderError, type DiffItem, type Hash } from "@vlinder/protocol";
import { diffJson, type JsonChange } from "../../state/documents/json-diff.ts";
import { diffTexts, type Hunk } from "../../state/documents/text-diff.ts";
import { textOf } from "../render/text.ts";

/** A value of more bytes is not compared. */
export const MOST_BYTES = 1024 * 1024;
/** Nor are values behind so many bytes, or so many keys. */
const MOST_BYTES_IN_ALL = 64 * 1024 * 1024;
export const MOST_KEYS = 1000;

/** How a key's value differs between two states. */
export type ValueDiff =
  | { readonly kind: "json"; readonly changes: readonly JsonChange[] }
  | { readonly kind: "text"; readonly hunks: readonly Hunk[] }
  | { readonly kind: "binary" }
  | { readonly kind: "vector"; readonly moved: boolean; readonly about: readonly JsonChange[] }
  /** `why`: `too-large`, `enough` (others were compared before it), or an error's code, as `erased` and `pruned`. */
  | { readonly kind: "left-out"; readonly why: string };

const EMPTY = new Uint8Array();

/** Gets the values of changed keys and compares them, with bounds for each and for all. */
export class ValueDiffs {
  readonly #client: Client;
  readonly #agent: AgentName;
  readonly #from: Hash | null;
  readonly #to: Hash;
  #bytes = 0;
  #keys = 0;

  /** @param from null: the state before the first commit */
  constructor(client: Client, agent: AgentName, from: Hash | null, to: Hash) {
    this.#client = client;
    this.#agent = agent;
    this.#from = from;
    this.#to = to;
  }

  async of(item: DiffItem): Promise<ValueDiff> {
    const [was, is] = [item.from?.size ?? 0, item.to?.size ?? 0];
    if (Math.max(was, is) > MOST_BYTES) return { kind: "left-out", why: "too-large" };
    this.#bytes += was + is;
    if (++this.#keys > MOST_KEYS || this.#bytes > MOST_BYTES_IN_ALL) return { kind: "left-out", why: "enough" };
    try {
      return item.space === "vectors" ? await this.#vector(item) : compared(...(await this.#values(item)));
    } catch (thrown) {
      const error = asVlinderError(thrown);
      if (error.code !== "erased" && error.code !== "pruned") throw error;
      return { kind: "left-out", why: error.code };
    }
  }

  #values(item: DiffItem): Promise<[Uint8Array | null, Uint8Array | null]> {
    const at = (side: DiffItem["from"], state: Hash | null) =>
      side === null || state === null ? null : this.#value(item.key, state);
    return Promise.all([at(item.from, this.#from), at(item.to, this.#to)]);
  }

  async #value(key: string, at: Hash): Promise<Uint8Array> {
    const { StoredValue } = await import("@vlinder/agent-runtime");
    const value = await StoredValue.open((part) =>
      this.#client.request(this.#agent, "value.get", { key, ...part, at }),
    );
    return await (value as StoredValue).bytes();
  }

  async #vector({ key, from, to }: DiffItem): Promise<ValueDiff> {
    const at = async (side: DiffItem["from"], state: Hash | null) =>
      side === null || state === null
        ? null
        : await this.#client.request(this.#agent, "vector.get", { key, at: state });
    const [was, is] = [await at(from, this.#from), await at(to, this.#to)];
    const about = (one: typeof was): Uint8Array =>
      Buffer.from(JSON.stringify(one === null ? {} : { metadata: one.metadata, model: one.model }));
    const moved = was === null || is === null || Buffer.compare(bytesOf(was.vector), bytesOf(is.vector)) !== 0;
    return { kind: "vector", moved, about: diffJson(about(was), about(is)) ?? [] };
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** Two values as they are; null: there is none. */
export function compared(was: Uint8Array | null, is: Uint8Array | null): ValueDiff {
  const changes = was === null || is === null ? null : diffJson(was, is);
  if (changes !== null) return { kind: "json", changes };
  const [before, after] = [textOf(was ?? EMPTY), textOf(is ?? EMPTY)];
  if (before === null || after === null) return { kind: "binary" };
  return { kind: "text", hunks: diffTexts(before, after) };
}
