import type { Merged, NotMerged } from "./merged-document.ts";
import { mergeItems } from "./json-items.ts";
import { type JsonDocument, type JsonNode, type JsonObject, JsonReader, NotReadable } from "./json-document.ts";
import { type JoinedObject, type Piece, taken } from "./json-piece.ts";
import { printJson } from "./json-print.ts";

/**
 * Three-way merge of JSON documents: objects by member, arrays by what was added, removed and moved
 * (`json-items.ts`). As with keys, a change beats a removal. What both changed, and is no pair of
 * objects or arrays, is the newer one's, and is listed as a JSON pointer (RFC 6901) into the merged
 * document. What is taken is spelled as it was: no number loses a digit.
 */
export function mergeJson(base: Uint8Array | null, newer: Uint8Array, older: Uint8Array): Merged | NotMerged {
  const reader = new JsonReader();
  let documents: [JsonDocument | null, JsonDocument, JsonDocument];
  try {
    documents = [base === null ? null : reader.read(base), reader.read(newer), reader.read(older)];
  } catch (error) {
    if (error instanceof NotReadable) return { why: error.why };
    throw error;
  }
  const [was, a, b] = documents;
  const { text, places } = printJson(mergeValues(was?.root ?? null, a.root, b.root), a, b);
  return { bytes: Buffer.from(text, "utf8"), places };
}

/** @param base null: the sides have nothing in common here */
export function mergeValues(base: JsonNode | null, newer: JsonNode, older: JsonNode): Piece {
  if (newer.id === older.id || base?.id === older.id) return taken(newer);
  if (base?.id === newer.id) return taken(older);
  if (newer.kind === "object" && older.kind === "object") {
    return mergeObjects(base?.kind === "object" ? base : null, newer, older);
  }
  if (newer.kind === "array" && older.kind === "array") {
    const items = base?.kind === "array" ? base.items : [];
    return {
      kind: "array",
      like: newer.items.length > 0 ? newer : older,
      ...mergeItems(items, newer.items, older.items, mergeValues),
    };
  }
  return { kind: "taken", node: newer, contested: true };
}

/** The newer one's members in its order, then those that only the older one has. */
function mergeObjects(base: JsonObject | null, newer: JsonObject, older: JsonObject): JoinedObject {
  const members: { name: string; plain: string; value: Piece }[] = [];
  for (const [plain, { name, value }] of newer.members) {
    const was = base?.members.get(plain)?.value ?? null;
    const other = older.members.get(plain)?.value;
    if (other !== undefined) members.push({ name, plain, value: mergeValues(was, value, other) });
    else if (was?.id !== value.id) members.push({ name, plain, value: taken(value) });
  }
  for (const [plain, { name, value }] of older.members) {
    if (newer.members.has(plain) || base?.members.get(plain)?.value.id === value.id) continue;
    members.push({ name, plain, value: taken(value) });
  }
  return { kind: "object", like: newer.members.size > 0 ? newer : older, members };
}
