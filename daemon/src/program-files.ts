import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

// Seen from here, in the sources and in what `npm run build` makes of them alike.
const PACKAGE = new URL("../package.json", import.meta.url);

/** The daemon's program, as a service starts it. */
export const VLINDERD = fileURLToPath(new URL("../bin/vlinderd.mjs", import.meta.url));

/** The version of this package. */
export function packageVersion(): string {
  return (JSON.parse(readFileSync(PACKAGE, "utf8")) as { version: string }).version;
}
