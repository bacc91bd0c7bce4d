import { type AgentName, asVlinderError, type Progress, VlinderError } from "@vlinder/protocol";
import type { AgentSync, OpenVault, PushSteps } from "./agent-sync.ts";
import type { Listing } from "./listing.ts";
import { Meter } from "./meter.ts";
import { Outbox } from "./outbox.ts";
import type { Pushed, PushJob } from "./push.ts";
import { retrying } from "./retry.ts";

/** What became of an agent's push. */
export interface PushOutcome extends Pushed {
  readonly agent: AgentName;
  readonly error: VlinderError | null;
}

export interface PushAgentsOptions extends Pick<PushJob, "retries" | "now"> {
  readonly progress: (progress: Progress) => void;
  /** Lists the bucket anew. */
  readonly relist: () => Promise<Listing>;
}

/** A push is done again, for the agents of which packs were merged, and once more, where that brought something up. */
const ROUNDS = 4;
/** After so many milliseconds a push looks again whether its packs are still wanted. */
const LATE = 3_600_000;

/**
 * Pushes several agents: all their packs, then all their heads, then what these replace is deleted, each in as few requests as
 * the bucket takes; at the end packs are merged or deleted where that is due, and what changed is said in another head. What goes wrong with one agent is its outcome, and remembered with it; the others go on.
 */
export async function pushAgents(
  agents: readonly { readonly name: AgentName; readonly sync: AgentSync }[],
  open: OpenVault,
  { retries, progress, now, relist }: PushAgentsOptions,
  rounds = ROUNDS,
): Promise<PushOutcome[]> {
  const began = now().getTime();
  const outbox = new Outbox(open.bucket, retries);
  const meter = await owedMeter(agents, progress);
  const aside = new Meter(progress);
  const pushes = agents.map(({ name, sync }) => {
    const part = { outbox, progress: meter.of(name, "pushing"), aside: (doing: string) => aside.of(name, doing) };
    return { name, sync, steps: sync.push(open, part) };
  });
  const errors = new Map<AgentName, VlinderError>();
  /** Takes a step with those that have not failed, one after another, and puts what they handed over. */
  const each = async (step: (steps: PushSteps, name: AgentName) => Promise<void>): Promise<void> => {
    for (const { name, steps } of pushes) {
      if (errors.has(name)) continue;
      try {
        await step(steps, name);
      } catch (error) {
        errors.set(name, asVlinderError(error));
      }
    }
    await outbox.flush();
    failing((name) => outbox.errorOf(name));
  };
  const failing = (errorOf: (name: AgentName, steps: PushSteps) => VlinderError | null): void => {
    for (const { name, sync, steps } of pushes) {
      const error = errors.has(name) ? null : errorOf(name, steps);
      if (error === null) continue;
      sync.fail("push", error);
      errors.set(name, error);
    }
  };
  await each((steps) => steps.sendPacks());
  await each((steps) => steps.publish());
  const replaced = pushes.flatMap(({ name, steps }) => (errors.has(name) ? [] : steps.replaced()));
  const kept = replaced.length === 0 ? null : await failureOf(retrying(retries, () => open.bucket.delete(replaced)));
  failing((_, steps) => (steps.replaced().length > 0 ? kept : null));
  const finished = new Map<AgentName, Pushed>();
  await each(async (steps, name) => void finished.set(name, await steps.finish()));
  const again = new Set<AgentName>();
  // Packs may have been marked since they were listed. They stay for days after that; so it is looked for only after a long time.
  const isLate = now().getTime() - began > LATE;
  for (const { name, steps } of pushes) {
    if (!errors.has(name) && (isLate || (await steps.tidy()))) again.add(name);
  }
  const once = agents.map(({ name }): PushOutcome => ({
    agent: name,
    error: errors.get(name) ?? null,
    ...(finished.get(name) ?? NOTHING),
  }));
  if (again.size === 0 || rounds === 1) return once;
  let listing: Listing;
  try {
    listing = await retrying(retries, relist);
  } catch (error) {
    // All is in the bucket, and what would be said in another head is owed still: the next push finds it so.
    if (error instanceof VlinderError) return once;
    throw error;
  }
  const more = await pushAgents(
    agents.filter(({ name }) => again.has(name)),
    { ...open, listing },
    { retries, progress, now, relist },
    rounds - 1,
  );
  return once.map((one) => sum(one, more.find(({ agent }) => agent === one.agent) ?? null));
}

const NOTHING: Pushed = { commits: 0, objects: 0, bytes: 0, notes: [] };

function sum(one: PushOutcome, other: PushOutcome | null): PushOutcome {
  if (other === null) return one;
  return {
    agent: one.agent,
    error: one.error ?? other.error,
    commits: one.commits + other.commits,
    objects: one.objects + other.objects,
    bytes: one.bytes + other.bytes,
    notes: [...one.notes, ...other.notes],
  };
}

async function owedMeter(
  agents: readonly { readonly name: AgentName; readonly sync: AgentSync }[],
  progress: (progress: Progress) => void,
): Promise<Meter> {
  const meter = new Meter(progress);
  for (const { name, sync } of agents) {
    try {
      meter.expect(name, (await sync.owed())?.owed.bytes ?? 0);
    } catch {
      // What is wrong with it, its push will say: this is only for the progress.
    }
  }
  return meter;
}

async function failureOf(work: Promise<void>): Promise<VlinderError | null> {
  try {
    await work;
    return null;
  } catch (error) {
    return asVlinderError(error);
  }
}
