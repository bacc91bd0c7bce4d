import type { VlinderError } from "@vlinder/protocol";
import type { Integrated, TheirBranch } from "../state/api.ts";
import { missingIn } from "./erasures.ts";
import type { Head } from "./head.ts";
import { PackTaker } from "./packs/pack-taker.ts";
import type { PackJob } from "./packs/take-pack.ts";

export interface Pulled {
  readonly commits: number;
  readonly objects: number;
  /** Of packs. */
  readonly bytes: number;
  readonly branches: readonly Integrated[];
  /** A sentence for each head that names what its packs do not hold. */
  readonly notes: readonly string[];
  /** What kept a head from being taken, when something did; the others were taken. */
  readonly error: VlinderError | null;
}

/**
 * Takes the packs that these heads name and that are not here, then moves the branches. A head
 * counts when all its packs are in; one with a pack that is missing or bad changes no branch, and the others
 * go on. What was taken is recorded pack by pack, so that a pull that was cut off goes on there.
 */
export async function pullHeads(job: PackJob, heads: readonly Head[]): Promise<Pulled> {
  const taking = new PackTaker(job);
  try {
    return await takeHeads(job, heads, taking);
  } finally {
    await taking.settle();
  }
}

async function takeHeads(job: PackJob, heads: readonly Head[], taking: PackTaker): Promise<Pulled> {
  const { exchange, route, state } = job;
  await route.begin();
  const notes: string[] = [];
  const whole: TheirBranch[] = [];
  let error: VlinderError | null = null;
  for (const { body } of heads) taking.expect(await route.plan(body.packs));
  for (let open = heads; open.length > 0;) {
    const before = taking.total.objects;
    const failed: Head[] = [];
    error = null;
    for (const head of open) {
      const { body } = head;
      const isHere = async (): Promise<boolean> =>
        (await exchange.has(body.branches.flatMap((branch) => branch.head ?? []))).every(Boolean);
      let missing = await taking.head(body.packs);
      const isLacking = missing === null ? !(await isHere()) : missingIn(missing) !== undefined;
      if (isLacking && (await taking.claimed(body.packs))) missing = await taking.head(body.packs);
      error ??= missing;
      if (missing !== null) failed.push(head);
      else if (await isHere()) whole.push(...body.branches);
      else notes.push(`refused a head: ${body.n} of device ${body.device} names commits that its packs do not hold`);
    }
    // What stands in the place of an old head's packs may need what came with another head.
    open = taking.total.objects > before && taking.retryRefused() ? failed : [];
  }
  // Not being able to take these is no error: what they replace is there, or is sent again.
  await taking.all(await route.plan(route.replacements()));
  await route.adopt();
  const branches = whole.length === 0 ? [] : await exchange.integrate(whole);
  if (taking.total.objects > 0) {
    state.setTips([
      ...state.tips(),
      ...whole.flatMap(({ head, deleted }) => (head === null ? deleted : [head, ...deleted])),
    ]);
  }
  if (error === null) state.setFact("pulled", job.now().toISOString());
  return { ...taking.total, branches, notes, error };
}
