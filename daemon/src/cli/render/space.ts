import type { SpaceItem } from "@vlinder/protocol";
import { yellow } from "./color.ts";
import { counted, size } from "./size.ts";
import type { Text } from "./text.ts";
import { ago } from "./time.ts";

/** From this part of the limit on it is said. */
const NEAR = 0.8;

/** `6.4 MB of 2.0 GB, grows by 1.2 MB a day: full on 2027-01-31` */
export function spaceText({ used, limit, bytesPerDay, reached }: SpaceItem): string {
  const amount = limit === null ? size(used) : `${size(used)} of ${size(limit)}`;
  if (bytesPerDay === null) return amount;
  const full = reached === null ? "" : `: full on ${reached.slice(0, 10)}`;
  return `${amount}, grows by ${size(bytesPerDay)} a day${full}`;
}

/** A line for each collection that can still be undone. */
export function quarantineLines({ quarantine }: SpaceItem): Text[] {
  return quarantine.map(({ time, until, commits, bytes }) => {
    return `put aside ${ago(time)}: ${counted(commits, "state")}, ${size(bytes)}; deleted on ${until.slice(0, 10)}`;
  });
}

/** Null while there is room. */
export function limitWarning(agent: string, used: number, limit: number | null): Text | null {
  if (limit === null || used < NEAR * limit) return null;
  const part = Math.floor((100 * used) / limit);
  return [yellow("warning: "), `${agent} has used ${part} % of its ${size(limit)}: vlinder gc ${agent}`];
}
