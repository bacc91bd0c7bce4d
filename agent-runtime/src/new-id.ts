import { nuid } from "nats";

const prefix = nuid.next();
let count = 0;

/** An id that no other request has: random for the process, counted within it, since randomness for each would cost more than the rest of a request. */
export function newId(): string {
  return `${prefix}${(++count).toString(36)}`;
}
