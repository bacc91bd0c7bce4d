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
  if (event.kind === "promote") {
    const { branch, sealed } = event.info ?? {};
    return [event.kind, dim(` ${nameOf(branch)}: was ${nameOf(sealed)}`)];
  }
  if (parents.length > 1) return [event.kind, dim(` of ${parents.map(short).join(" and ")}`)];
  if (event.kind === "effect") return [event.kind, dim(effectText(event.info ?? {}))];
  return event.kind === "call" ? [event.kind, dim(` ${callText(event)}`)] : [event.kind];
}

/** ` mail: done, as a person said` */
function effectText({ key, status, by }: Readonly<Record<string, unknown>>): string {
  const word = typeof status === "string" ? status.replace("_", " ") : "";
  return ` ${typeof key === "string" ? key : ""}: ${word}${by === "person" ? ", as a person said" : ""}`;
}

/** It may be from anywhere. */
function nameOf(value: unknown): string {
  return typeof value === "string" ? value : "?";
}

/** The session and turn that a commit belongs to. */
export function origin({ session, turn }: Pick<CommitItem, "session" | "turn">): string {
  return [session, turn].filter((one) => one !== null).join("/");
}
