import type { Define } from "../catalogue.ts";
import type { Outcome } from "../outcome.ts";

export const defineReload: Define = (command, act) => {
  command.action(
    act(async (context): Promise<Outcome> => {
      const reply = await (await context.client()).admin("daemon.reload");
      const { reloaded } = reply;
      return {
        json: reply,
        people: () => [
          reloaded.length === 0
            ? "nothing that takes effect at once has changed; for the rest, restart vlinderd"
            : `took effect: ${reloaded.join(", ")}`,
        ],
      };
    }),
  );
};
