import { type AgentName, asVlinderError, type VlinderError } from "@vlinder/protocol";
import type { AgentSync, OpenVault, PushSteps } from "./agent-sync.ts";
import { Outbox } from "./outbox.ts";
import type { Pushed, PushJob } from "./push.ts";
import { retrying } from "./retry.ts";

/** What became of an agent's push. */
export interface PushOutcome extends Pushed {
  readonly agent: AgentName;
  readonly error: VlinderError | null;
}

/**
 * Pushes several agents: all their packs, then all their heads, then what these replace is deleted, each in as few requests as
 * the bucket takes. What goes wrong with one agent is its outcome, and remembered with it; the others go on.
 */
export async function pushAgents(
  agents: readonly { readonly name: AgentName; readonly sync: AgentSync }[],
  open: OpenVault,
  { retries, progress }: Pick<PushJob, "retries" | "progress">,
): Promise<PushOutcome[]> {
  const outbox = new Outbox(open.bucket, retries);
  const pushes = agents.map(({ name, sync }) => ({ name, sync, steps: sync.push(open, { outbox, progress }) }));
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
  const nothing = { commits: 0, objects: 0, bytes: 0, notes: [] };
  return agents.map(({ name }) => ({
    agent: name,
    error: errors.get(name) ?? null,
    ...(finished.get(name) ?? nothing),
  }));
}

async function failureOf(work: Promise<void>): Promise<VlinderError | null> {
  try {
    await work;
    return null;
  } catch (error) {
    return asVlinderError(error);
  }
}
