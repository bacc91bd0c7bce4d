let last: Promise<unknown> = Promise.resolve();

/**
 * Does the work when all that was given before is done, in the whole process: each upload of the Hub's library
 * sets 670 MB of address space aside, of which it fills as much as it sends.
 */
export function oneAtATime<T>(work: () => Promise<T>): Promise<T> {
  const done = last.then(work);
  last = done.catch(() => undefined);
  return done;
}
