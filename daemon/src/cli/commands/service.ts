import { userInfo } from "node:os";
import { VLINDERD } from "../../program-files.ts";
import type { Define } from "../catalogue.ts";
import type { Outcome } from "../outcome.ts";
import { bold, green, yellow } from "../render/color.ts";

interface ServiceOptions {
  readonly system?: boolean;
}

export const defineService: Define = (command, act) => {
  command
    .command("install")
    .description("write the service's definition; starts nothing")
    .option("--system", "for the whole machine, not only while this user is there")
    .action(
      act(async ({ terminal }, options: ServiceOptions): Promise<Outcome> => {
        const { installService } = await import("../../registry/service.ts");
        const { loadConfig } = await import("../../registry/config.ts");
        const { openHome } = await import("../../registry/home.ts");
        const home = await openHome();
        const config = await loadConfig(home, terminal.env);
        // Under sudo the service is to run as who asked for it, with that user's rights.
        const user = terminal.env["SUDO_USER"] ?? userInfo().username;
        const system = options.system === true;
        const spec = { node: process.execPath, vlinderd: VLINDERD, home: home.path, system, user };
        const reply = await installService({ ...spec, externalNats: config.nats.url !== null });
        return {
          json: { ...reply, home: home.path, system },
          people: () => [
            [green("wrote "), reply.path],
            `it serves the home ${home.path}`,
            ...reply.notes.map((note) => [yellow("note: "), note]),
            ...reply.next.map((line) => ["next: ", bold(line)]),
          ],
        };
      }),
    );
  command
    .command("uninstall")
    .description("stop the service and remove its definition; the home stays")
    .option("--system", "the one for the whole machine")
    .action(
      act(async (_context, options: ServiceOptions): Promise<Outcome> => {
        const { uninstallService } = await import("../../registry/service.ts");
        const reply = await uninstallService(options.system === true);
        return {
          json: reply,
          people: () => [[green("removed "), reply.path], ...reply.notes.map((note) => [yellow("note: "), note])],
        };
      }),
    );
};
