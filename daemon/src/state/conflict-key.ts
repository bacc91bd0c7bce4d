import { hashToBytes, type Hash, type Key, keyBytes, LIMITS, sha256Of } from "@vlinder/protocol";

const MARK = ".conflict-";
const DIGITS = 16;

/**
 * Where `keep-both` puts the value that lost: the key, cut to fit at a character's end, then
 * `.conflict-` and the first 16 hex digits of SHA-256(key's bytes, value's 32 bytes).
 */
export function conflictKey(key: Key, value: Hash): Key {
  const digits = sha256Of([keyBytes(key), hashToBytes(value)]).slice(0, DIGITS);
  let end = Math.min(key.length, LIMITS.keyBytes - MARK.length - DIGITS);
  // Not in the middle of a UTF-8 sequence: 10xxxxxx goes on with one.
  while (end < key.length && (key.charCodeAt(end) & 0xc0) === 0x80) end--;
  return `${key.slice(0, end)}${MARK}${digits}` as Key;
}
