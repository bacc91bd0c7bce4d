import { type Damage, type Hash, LIMITS, type Progress, type VerifyReply } from "@vlinder/protocol";
import type { StateEngine } from "../state/engine.ts";

/** Bytes of a damaged object in a reply, beside its keys. */
const ITEM = 2000;
/** While another verification runs; milliseconds. */
const WAITING = 1000;

/** Verifies an agent, with a word of progress at least every second. */
export async function verify(
  engine: StateEngine,
  at: Hash | null,
  progress: (progress: Progress) => void,
): Promise<VerifyReply> {
  const waiting = setInterval(() => progress({ what: "waiting", done: 0, total: null, unit: "objects" }), WAITING);
  let started = performance.now();
  try {
    const begun = (): void => {
      clearInterval(waiting);
      started = performance.now();
    };
    const { damage, ...report } = await engine.verify(at, {
      begun,
      progress: (done, total) => progress({ what: "verify", done, total, unit: "objects" }),
    });
    const seconds = (performance.now() - started) / 1000;
    return { ok: report.damaged === 0, ...report, seconds, damage: fitting(damage) };
  } finally {
    clearInterval(waiting);
  }
}

/** As many as one reply holds; JSON writes a control character as six. */
function fitting(damage: readonly Damage[]): Damage[] {
  let room = LIMITS.replyBytes - 10_000;
  const end = damage.findIndex(({ keys }) => {
    room -= ITEM + 6 * keys.reduce((sum, key) => sum + Buffer.byteLength(key), 0);
    return room < 0;
  });
  return damage.slice(0, end === -1 ? LIMITS.defaultPage : Math.min(end, LIMITS.defaultPage));
}
