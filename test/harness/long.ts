/** `npm test -- --long`: more rounds of what is left to chance, and all the ways of making the same thing fail. */
export const IS_LONG = process.env["VLINDER_LONG"] === "1";
