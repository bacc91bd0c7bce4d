import type { Client } from "@vlinder/agent-runtime";
import { type AgentName, asVlinderError, type CommitItem, type Hash } from "@vlinder/protocol";

/** A value of more bytes is not read, nor are values behind so many bytes. */
export const MOST_BYTES = 1024 * 1024;
const MOST_BYTES_IN_ALL = 8 * 1024 * 1024;

/** A value that belongs to a commit's event, and to no key. */
export interface EventValue {
  readonly hash: Hash;
  readonly size: number;
  /** Null: it is left out. */
  readonly value: Uint8Array | null;
  /** Why it is left out: `too-large`, `enough` (others were read before it), or an error's code, as `erased`. */
  readonly why?: string;
}

/** The values of a commit's event, by their names. */
export async function eventValues(
  client: Client,
  agent: AgentName,
  { hash: ref, event: { values = {} } }: Pick<CommitItem, "hash" | "event">,
): Promise<ReadonlyMap<string, EventValue>> {
  const { StoredValue } = await import("@vlinder/agent-runtime");
  const read = new Map<string, EventValue>();
  let bytes = 0;
  for (const [name, [hash, size]] of Object.entries(values)) {
    const about = { hash, size };
    if (size > MOST_BYTES) {
      read.set(name, { ...about, value: null, why: "too-large" });
      continue;
    }
    bytes += size;
    if (bytes > MOST_BYTES_IN_ALL) {
      read.set(name, { ...about, value: null, why: "enough" });
      continue;
    }
    try {
      const value = new StoredValue({ ...about, state: ref }, ({ offset, length }) =>
        client.request(agent, "timeline.value", { ref, name, offset, length }),
      );
      read.set(name, { ...about, value: await value.bytes() });
    } catch (thrown) {
      const error = asVlinderError(thrown);
      if (error.code !== "erased") throw error;
      read.set(name, { ...about, value: null, why: error.code });
    }
  }
  return read;
}
