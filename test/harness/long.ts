/** `npm test -- --long`: more rounds of what is left to chance, and all the ways of making the same thing fail. */
export const IS_LONG = process.env["VLINDER_LONG"] === "1";

/** Rounds of what is left to chance: a third of them in the short run. */
export const rounds = (all: number): number => (IS_LONG ? all : Math.ceil(all / 3));
