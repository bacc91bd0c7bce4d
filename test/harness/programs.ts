import path from "node:path";

const DAEMON = process.env["VLINDER_TEST_DAEMON"] ?? path.resolve(import.meta.dirname, "../../daemon");

/** As `npm test` and `npm run bench` have built them; in a run of single files, the sources. */
export const VLINDER = path.join(DAEMON, "bin", "vlinder.mjs");
export const VLINDERD = path.join(DAEMON, "bin", "vlinderd.mjs");
