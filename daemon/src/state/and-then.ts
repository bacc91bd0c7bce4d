/**
 * Goes on with a value at once when it is there, and when it has come where it is a promise. A put whose tree is in
 * memory is computed without a promise: each costs about as much as hashing a node.
 */
export function andThen<A, B>(value: A | Promise<A>, go: (value: A) => B | Promise<B>): B | Promise<B> {
  return value instanceof Promise ? value.then(go) : go(value);
}
