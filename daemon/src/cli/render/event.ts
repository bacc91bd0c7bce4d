import type { CommitItem } from "@vlinder/protocol";
import { callText } from "./call.ts";
import { dim } from "./color.ts";
import { short } from "./hash.ts";
import type { Span } from "./text.ts";

/** Why a commit was made, with what matters of it. */
export function eventText({
  event,
  adopts,
  parents,
}: Pick<CommitItem, "event" | "adopts" | "parents">): (string | Span)[] {
  if (adopts !== null) return [event.kind, dim(` to ${short(adopts)}`)];
  if (parents.length > 1) return [event.kind, dim(` of ${parents.map(short).join(" and ")}`)];
  return event.kind === "call" ? [event.kind, dim(` ${callText(event)}`)] : [event.kind];
}
