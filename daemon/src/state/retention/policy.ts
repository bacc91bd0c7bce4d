import type { Contract } from "@vlinder/protocol";

const UNITS: Readonly<Record<string, number>> = { h: 3_600_000, d: 86_400_000, w: 604_800_000, y: 31_536_000_000 };
const SPAN = /^([1-9]\d{0,5})([hdwy])$/;

/** How long states are kept, in milliseconds since they arrived here; null: for ever. */
export interface RetentionPolicy {
  readonly states: number | null;
  /** Ends of turns, which are never kept for a shorter time than the rest. */
  readonly turns: number | null;
  /** What keeps everything though the contract asks for retention; null: nothing. */
  readonly unknown: string | null;
}

/**
 * The retention that a contract asks for. One that a newer release wrote may ask in words that this
 * one does not know: then nothing is dropped, and it is said.
 */
export function policyOf(contract: Contract | null): RetentionPolicy {
  const retention = contract?.retention ?? {};
  const keep = (unknown: string | null): RetentionPolicy => ({ states: null, turns: null, unknown });
  const spans = new Map<string, number>();
  for (const [name, text] of Object.entries(retention)) {
    const [, amount, unit] = SPAN.exec(text) ?? [];
    if ((name !== "states" && name !== "turns") || unit === undefined) {
      return keep(`[retention] ${name} = ${JSON.stringify(text)} is not known to this release: nothing is dropped`);
    }
    spans.set(name, Number(amount) * (UNITS[unit] as number));
  }
  const states = spans.get("states") ?? null;
  if (states === null) return keep(null);
  const turns = spans.get("turns") ?? null;
  return { states, turns: turns === null ? null : Math.max(states, turns), unknown: null };
}
