import type { JsonDocument, Layout } from "./json-document.ts";
import { MOST_PLACES } from "./merged-document.ts";
import type { Piece } from "./json-piece.ts";

/** A place is cut to this many UTF-16 units. */
const LONGEST_PLACE = 1000;

/**
 * The merged document as text. What was taken whole is spelled as it was; what was joined has the white
 * space of the newer document, at that place where it has any.
 */
export function printJson(root: Piece, newer: JsonDocument, older: JsonDocument): { text: string; places: string[] } {
  const parts: string[] = [newer.before];
  const places: string[] = [];
  const path: string[] = [];
  const comma = newer.comma ?? older.comma ?? "";
  const contested = (): void => {
    if (places.length === MOST_PLACES) return;
    const pointer = path.map((name) => `/${name}`).join("");
    places.push(pointer.slice(0, LONGEST_PLACE).toWellFormed());
  };

  const list = <Item>(
    items: readonly Item[],
    brackets: string,
    layout: Layout,
    each: (item: Item, i: number) => void,
  ) => {
    const between = layout.comma ?? (layout.open.includes("\n") ? layout.open : comma);
    parts.push(brackets[0] as string);
    for (const [i, item] of items.entries()) {
      parts.push(i === 0 ? layout.open : `,${between}`);
      each(item, i);
    }
    parts.push(items.length === 0 ? "" : layout.close, brackets[1] as string);
  };
  const inside = (name: string, piece: Piece): void => {
    path.push(name);
    print(piece);
    path.pop();
  };
  const print = (piece: Piece): void => {
    if (piece.kind !== "object" && piece.contested) contested();
    if (piece.kind === "taken") {
      parts.push(piece.node.text);
    } else if (piece.kind === "array") {
      list(piece.items, "[]", piece.like.layout, (item, i) => inside(`${i}`, item));
    } else {
      list(piece.members, "{}", piece.like.layout, ({ name, plain, value }) => {
        parts.push(name, piece.like.layout.colon);
        inside(plain.replaceAll("~", "~0").replaceAll("/", "~1"), value);
      });
    }
  };
  print(root);
  parts.push(newer.behind);
  return { text: parts.join(""), places };
}
