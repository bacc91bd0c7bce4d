import type { OpenedAgent } from "../daemon-core.ts";
import type { Processes } from "../processes/processes.ts";

/**
 * Has an agent's process run, or not run, as its agent.toml says now. Resolves when it runs, with what the user should know
 * if it does not.
 */
export async function keepProcess(processes: Processes, agent: OpenedAgent): Promise<string[]> {
  const { name, manifest, registration } = agent;
  if (manifest?.runtime !== "process" || manifest.executable === null || registration.source === null) {
    await processes.drop(name);
    return [];
  }
  await processes.keep({ name, folder: registration.source, executable: manifest.executable });
  const error = processes.report(name)?.error ?? null;
  if (error === null) return [];
  const remedy = error.details["remedy"];
  return [`its process could not be started: ${error.message}${typeof remedy === "string" ? `; ${remedy}` : ""}`];
}
