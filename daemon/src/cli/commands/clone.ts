import type { AdminReplies, PullReply } from "@vlinder/protocol";
import { bucketUri, requireVault } from "../bucket-uri.ts";
import type { Define } from "../catalogue.ts";
import { type Context, PATIENT } from "../context.ts";
import type { Outcome } from "../outcome.ts";
import { withOwnHome } from "../own-home.ts";
import { bold, dim, green } from "../render/color.ts";
import { short } from "../render/hash.ts";
import { pullBlocks } from "../render/pulled.ts";

interface Cloned {
  readonly joined: AdminReplies["sync.init"];
  readonly pulled: PullReply;
}

export const defineClone: Define = (command, act) => {
  command.argument("<uri>", "the bucket: a folder, OWNER/NAME on Hugging Face, or s3://…").action(
    act(async (context, text: string): Promise<Outcome> => {
      const uri = bucketUri(text);
      const client = await context.clientOrNull();
      if (client === null || (context.terminal.env["VLINDER_URL"] ?? "") === "") await requireVault(uri);
      const { joined, pulled } =
        client === null
          ? await cloneHere(context, uri)
          : {
              joined: await client.admin("sync.init", { uri }, PATIENT),
              pulled: await client.admin("sync.pull", {}, { onProgress: context.progress }),
            };
      const { bucket, vault } = joined;
      return {
        json: { bucket, vault, agents: pulled.agents },
        failed: pulled.agents.some(({ error }) => error !== null),
        people: () => [
          [green("cloned "), `${bucket}   vault ${short(vault)}`],
          ...pullBlocks(pulled),
          ...(client === null
            ? [["next: ", bold("vlinderd"), dim("   in a clone of the repository: npx vlinderd")]]
            : []),
          ["then: ", bold("vlinder status"), dim("   and vlinder agent add DIR, where an agent's code is")],
        ],
      };
    }),
  );
};

/** Without a daemon: joins the vault, then pulls with the daemon's own code. */
async function cloneHere({ progress }: Context, uri: string): Promise<Cloned> {
  const { openCore } = await import("../../daemon-core.ts");
  const { createLog } = await import("../../observe/log.ts");
  const { loadConfig } = await import("../../registry/config.ts");
  return withOwnHome(async (home) => {
    // What goes wrong is in the reply; lines of a log would only be in a person's way.
    const core = await openCore({ home, config: await loadConfig(home), log: createLog("silent") });
    try {
      const joined = await core.sync.init(uri);
      return { joined, pulled: await core.pull(undefined, progress) };
    } finally {
      await core.close();
    }
  });
}
