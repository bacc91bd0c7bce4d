import type { ProcessItem } from "@vlinder/protocol";
import { errorLines } from "../failure.ts";
import type { Block } from "../outcome.ts";
import { green, red, yellow } from "./color.ts";
import { counted } from "./size.ts";
import type { Text } from "./text.ts";
import { ago, duration } from "./time.ts";

const TINTS = { running: green, waiting: yellow, failed: red, stopped: yellow } as const;

/** The state of an agent's process; empty for an agent that something else starts. */
export function processText(item: ProcessItem | null): Text {
  return item === null ? "" : TINTS[item.state](item.state);
}

/** All that is known of it, on a line; null for an agent that something else starts. */
export function processFact(item: ProcessItem | null): Text | null {
  if (item === null) return null;
  const { state, pid, since, restarts, lastExit, next } = item;
  const seconds = (until: number): number => Math.abs(until - Date.parse(since)) / 1000;
  const more = [
    ...(pid === null ? [] : [`pid ${pid}`, `up ${duration(seconds(Date.now()))}`]),
    ...(next === null ? [] : [`next start in ${duration(Math.max(0, Date.parse(next) - Date.now()) / 1000)}`]),
    ...(restarts === 0 ? [] : [counted(restarts, "restart")]),
    ...(lastExit === null ? [] : [`last exit ${lastExit.signal ?? `code ${lastExit.code}`}, ${ago(lastExit.time)}`]),
  ];
  return [TINTS[state](state), ...more.map((one) => `   ${one}`)];
}

/** Why an agent's process could not be started, and what to do; nothing where it could. */
export function processLines(agent: string, item: ProcessItem | null): Block[] {
  if (item === null || item.error === null) return [];
  return [`${agent}: its process could not be started`, ...errorLines(item.error)];
}
