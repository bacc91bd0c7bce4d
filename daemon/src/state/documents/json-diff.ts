import { type JsonNode, type JsonObject, JsonReader, NotReadable } from "./json-document.ts";
import { matchItems } from "./json-items.ts";

/** What became of a place in a document. */
export interface JsonChange {
  /** `reorder`: an array has the same items in another order, besides what else is said of it. */
  readonly op: "add" | "remove" | "change" | "reorder";
  /** A JSON pointer (RFC 6901): into the later document, of what was removed into the earlier one. */
  readonly path: string;
  /** JSON, as the documents spell it. */
  readonly from?: string;
  readonly to?: string;
}

/**
 * What differs between two JSON documents: members by name, items of arrays by what was added, removed and changed, with
 * items told apart as merges do. None: they are spelled differently, and that is all. Null: they are not both an object or
 * array of JSON, or too large.
 */
export function diffJson(from: Uint8Array, to: Uint8Array): JsonChange[] | null {
  const reader = new JsonReader();
  try {
    const [was, is] = [reader.read(from).root, reader.read(to).root];
    if (was.kind === "scalar" || is.kind === "scalar") return null;
    const changes: JsonChange[] = [];
    compare(was, is, "", changes);
    return changes;
  } catch (error) {
    if (error instanceof NotReadable) return null;
    throw error;
  }
}

function compare(was: JsonNode, is: JsonNode, path: string, changes: JsonChange[]): void {
  if (was.id === is.id) return;
  if (was.kind === "object" && is.kind === "object") compareMembers(was, is, path, changes);
  else if (was.kind === "array" && is.kind === "array") compareItems(was.items, is.items, path, changes);
  else changes.push({ op: "change", path, from: was.text, to: is.text });
}

function compareMembers(was: JsonObject, is: JsonObject, path: string, changes: JsonChange[]): void {
  for (const [name, { value }] of was.members) {
    const now = is.members.get(name)?.value;
    const at = inside(path, name);
    if (now === undefined) changes.push({ op: "remove", path: at, from: value.text });
    else compare(value, now, at, changes);
  }
  for (const [name, { value }] of is.members) {
    if (was.members.has(name)) continue;
    changes.push({ op: "add", path: inside(path, name), to: value.text });
  }
}

function inside(path: string, name: string): string {
  return `${path}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

function compareItems(was: readonly JsonNode[], is: readonly JsonNode[], path: string, changes: JsonChange[]): void {
  const matches = matchItems(was, is);
  const cameFrom = new Map<number, JsonNode>();
  let last = -1;
  let moved = false;
  for (const [i, item] of was.entries()) {
    const at = matches[i] as number;
    if (at < 0) {
      changes.push({ op: "remove", path: `${path}/${i}`, from: item.text });
      continue;
    }
    cameFrom.set(at, item);
    moved ||= at < last;
    last = at;
  }
  for (const [i, item] of is.entries()) {
    const before = cameFrom.get(i);
    if (before === undefined) changes.push({ op: "add", path: `${path}/${i}`, to: item.text });
    else compare(before, item, `${path}/${i}`, changes);
  }
  if (moved) changes.push({ op: "reorder", path });
}
