import type { JsonArray, JsonNode, JsonObject } from "./json-document.ts";

/** A value of the merged document. */
export type Piece = Taken | JoinedObject | JoinedArray;

/** Whole, as one side has it. `contested`: both changed it, and this is the newer one. */
export interface Taken {
  readonly kind: "taken";
  readonly node: JsonNode;
  readonly contested: boolean;
}

/** `like`: whose white space it gets. */
export interface JoinedObject {
  readonly kind: "object";
  readonly like: JsonObject;
  readonly members: readonly { readonly name: string; readonly plain: string; readonly value: Piece }[];
}

/** `contested`: both brought the items into another order, and this is the newer one. */
export interface JoinedArray {
  readonly kind: "array";
  readonly like: JsonArray;
  readonly items: readonly Piece[];
  readonly contested: boolean;
}

export function taken(node: JsonNode): Taken {
  return { kind: "taken", node, contested: false };
}
