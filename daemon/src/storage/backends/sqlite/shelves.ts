import { KINDS } from "../../object-storage.ts";

/** What is found by hash: a kind of object each, and replies, by the hash of their id. */
export const SHELVES = [...KINDS, "reply"] as const;
export const REPLY_SHELF = SHELVES.length - 1;
