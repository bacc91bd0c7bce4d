import type { BranchId, DeviceId, Hash, SyncBranchItem } from "@vlinder/protocol";
import type { Exchange } from "../state/api.ts";
import { bodyOf, type HeadBody } from "./head.ts";

/**
 * Each branch here and in the newest head that was seen of each other machine: by name, then by device.
 *
 * @param headFiles bytes of good heads; of one device the one with the greatest number counts
 */
export async function branchesBeside(exchange: Exchange, headFiles: readonly Buffer[]): Promise<SyncBranchItem[]> {
  const newest = new Map<DeviceId, HeadBody>();
  for (const body of headFiles.map(bodyOf)) {
    if (body.n > (newest.get(body.device)?.n ?? 0)) newest.set(body.device, body);
  }
  const ours = new Map(exchange.branches().map((branch) => [branch.id, branch]));
  const items: SyncBranchItem[] = [];
  for (const [device, body] of newest) {
    const theirs = new Map(body.branches.map((branch) => [branch.id, branch]));
    for (const id of new Set<BranchId>([...ours.keys(), ...theirs.keys()])) {
      const [here, there] = [ours.get(id)?.head ?? null, theirs.get(id)?.head ?? null];
      // Deleted on both: there is nothing to say.
      if (here === null && there === null) continue;
      const branch = ours.get(id)?.name ?? theirs.get(id)?.name ?? "";
      items.push({ branch, device, state: here, theirs: there, ...(await relationOf(exchange, here, there)) });
    }
  }
  return items.toSorted((a, b) => compare(a.branch, b.branch) || compare(a.device, b.device));
}

async function relationOf(
  exchange: Exchange,
  here: Hash | null,
  there: Hash | null,
): Promise<Pick<SyncBranchItem, "relation" | "ahead" | "behind">> {
  if (here === there) return { relation: "equal", ahead: 0, behind: 0 };
  if (here === null || there === null) return { relation: "absent", ahead: null, behind: null };
  // A pull has seen the head and could not take its packs: so much is there that is not here.
  if (!(await exchange.has([there]))[0]) return { relation: "behind", ahead: null, behind: null };
  const ahead = await count(exchange.newCommits([here], [there]));
  const behind = await count(exchange.newCommits([there], [here]));
  const relation = behind === 0 ? "ahead" : ahead === 0 ? "behind" : "diverged";
  return { relation, ahead, behind };
}

async function count(items: AsyncIterable<unknown>): Promise<number> {
  let number = 0;
  for await (const _ of items) number++;
  return number;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
