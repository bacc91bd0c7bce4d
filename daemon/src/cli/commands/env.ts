import { inboxPrefix } from "@vlinder/protocol";
import { agentArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import { shellQuoted } from "../render/shell.ts";

export const defineEnv: Define = (command, act) => {
  command.option("--agent <name>", "that agent's credentials, not the administrator's").action(
    act(async (context, options: { agent?: string }) => {
      const name = options.agent === undefined ? null : agentArgument(options.agent);
      const { findDaemon } = await import("@vlinder/agent-runtime");
      // Where nobody answers there is nothing to point others at.
      const client = await context.client();
      const address = await findDaemon({});
      const { url } = address;
      const creds = name === null ? address.creds : (await client.admin("agents.show", { agent: name })).creds || null;
      const prefix = inboxPrefix(name ?? "admin");
      const variables = {
        NATS_URL: url,
        ...(creds === null ? {} : { NATS_CREDS: creds }),
        VLINDER_URL: url,
        ...(creds === null ? {} : { VLINDER_CREDS: creds }),
      };
      return {
        json: { ...variables, inboxPrefix: prefix },
        people: () => [
          ...Object.entries(variables).map(([variable, value]) => `export ${variable}=${shellQuoted(value)}`),
          `# these credentials hear replies in one inbox only: nats --inbox-prefix ${prefix} …`,
        ],
      };
    }),
  );
};
