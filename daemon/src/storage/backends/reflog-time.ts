import { invalid } from "@vlinder/protocol";

/** The time of a move in milliseconds since 1970. @throws invalid */
export function reflogTime(time: string): number {
  const milliseconds = Date.parse(time);
  if (!Number.isNaN(milliseconds)) return milliseconds;
  throw invalid(`not a time: ${JSON.stringify(time).slice(0, 80)}`, { remedy: "write it in ISO 8601" });
}
