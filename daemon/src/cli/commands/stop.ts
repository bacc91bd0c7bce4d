import { setTimeout as sleep } from "node:timers/promises";
import { VlinderError } from "@vlinder/protocol";
import type { Define } from "../catalogue.ts";

/** The daemon gives what it accepted this long itself, and then closes its storage. */
const WAIT = 60_000;
const INTERVAL = 50;

export const defineStop: Define = (command, act) => {
  command.action(
    act(async (context) => {
      const client = await context.client();
      const { pid, home } = await client.admin("daemon.status");
      await client.admin("daemon.drain");
      const deadline = performance.now() + WAIT;
      while (isRunning(pid)) {
        if (performance.now() > deadline) {
          throw new VlinderError("timeout", `vlinderd (pid ${pid}) is still stopping after ${WAIT / 1000} s`, {
            remedy: `see its log; \`kill ${pid}\` asks it again`,
            retryable: false,
          });
        }
        await sleep(INTERVAL);
      }
      return { json: { stopped: true, pid, home }, people: () => [`vlinderd (pid ${pid}) has stopped`] };
    }),
  );
};

/** False too where it runs on another machine, whose end can't be seen from here. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
