import { type BranchName, type Hash, invalid, isHash } from "@vlinder/protocol";
import type { Note } from "../../storage/object-storage.ts";

/** What is stored of an open turn beside its commits: no branch leads to these yet. */
export interface TurnNote {
  readonly turn: string;
  readonly session: string;
  readonly branch: Hash;
  /** The branch's name when the turn began. */
  readonly name: BranchName;
  /** The branch's head that it began from. */
  readonly base: Hash;
  /** The last commit of its chain that is stored. */
  readonly head: Hash;
}

/** Notes of open turns have names that begin so. */
export const TURN_NOTES = "turn/";

export function turnNote(note: TurnNote): Note {
  return { name: TURN_NOTES + note.turn, bytes: Buffer.from(JSON.stringify(note), "utf8") };
}

/** Stored when the turn ends. */
export function noTurnNote(turn: string): Note {
  return { name: TURN_NOTES + turn, bytes: null };
}

/** @throws invalid */
export function parseTurnNote(bytes: Uint8Array): TurnNote {
  const note = JSON.parse(Buffer.from(bytes).toString("utf8")) as Partial<TurnNote>;
  const { turn, session, branch, name, base, head } = note;
  const texts = [turn, session, name].every((text) => typeof text === "string");
  if (!texts || ![branch, base, head].every(isHash)) throw invalid("not the note of an open turn");
  return note as TurnNote;
}
