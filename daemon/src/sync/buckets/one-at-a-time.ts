/**
 * Does the work when all that was given before is done, in the whole process: each upload of the Hub's library
 * sets 670 MB of address space aside, of which it fills as much as it sends.
 */
export const oneAtATime = lane();

/** The same for copies of whole files, which may take hours: what is put meanwhile must not wait for them. */
export const oneFileAtATime = lane();

function lane(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const done = last.then(work);
    last = done.catch(() => undefined);
    return done;
  };
}
