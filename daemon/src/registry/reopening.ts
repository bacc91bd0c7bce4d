import type { Logger } from "pino";

/** Between two tries, in milliseconds. */
const EVERY = 2_000;

/**
 * Goes on trying to open agents whose storage was out of reach (a disk that was full at the start, a file that was
 * locked), so that nobody has to restart the daemon. Returns the way to stop it.
 * @param retry opens those that can be opened now; they are then `served`
 */
export function keepReopening<Agent extends { readonly name: string }>(
  retry: () => Promise<readonly Agent[]>,
  served: (agent: Agent) => Promise<void>,
  log: Logger,
): () => void {
  let isTrying = false;
  const attempt = async (): Promise<void> => {
    isTrying = true;
    try {
      for (const agent of await retry()) {
        await served(agent);
        log.info({ agent: agent.name }, "the agent is served again");
      }
    } catch (error) {
      log.warn({ err: error }, "agents could not be opened again");
    } finally {
      isTrying = false;
    }
  };
  const timer = setInterval(() => {
    if (!isTrying) void attempt();
  }, EVERY).unref();
  return () => clearInterval(timer);
}
