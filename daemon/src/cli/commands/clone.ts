import { type InitReply, type PullReply, VlinderError } from "@vlinder/protocol";
import { bucketUri, requireVault } from "../bucket-uri.ts";
import type { Define } from "../catalogue.ts";
import { type Context, PATIENT } from "../context.ts";
import { type JoinFlags, joinOptions, withJoinOptions } from "../join-options.ts";
import type { Block, Outcome } from "../outcome.ts";
import { withOwnHome } from "../own-home.ts";
import { bold, dim, green } from "../render/color.ts";
import { short } from "../render/hash.ts";
import { pullBlocks } from "../render/pulled.ts";

interface Cloned {
  readonly joined: InitReply;
  readonly pulled: PullReply;
  /** Agents whose code no folder of this machine has. */
  readonly waiting: readonly string[];
}

export const defineClone: Define = (command, act) => {
  const named = command.argument("<uri>", "the bucket: a folder, OWNER/NAME on Hugging Face, or s3://…");
  withJoinOptions(named).action(
    act(async (context, text: string, flags: JoinFlags): Promise<Outcome> => {
      const options = { ...(await joinOptions(context, flags)), join: true } as const;
      const uri = bucketUri(text);
      const client = await context.clientOrNull();
      // Before a home is made for nothing.
      if (client === null) await requireVault(uri);
      const { joined, pulled, waiting } =
        client === null ? await cloneHere(context, uri, options) : await cloneThere(context, client, uri, options);
      const { bucket, vault, encrypted } = joined;
      const failed = pulled.agents.some(({ error }) => error !== null);
      return {
        json: { bucket, vault, encrypted, agents: pulled.agents, daemon: client !== null, waiting },
        failed,
        people: () => [
          [green("cloned "), `${bucket}   ${encrypted ? "encrypted vault" : "vault"} ${short(vault)}`],
          ...pullBlocks(pulled),
          ...nextBlocks({ running: client !== null, failed, waiting, text }),
        ],
      };
    }),
  );
};

function nextBlocks(how: { running: boolean; failed: boolean; waiting: readonly string[]; text: string }): Block[] {
  const { running, failed, waiting, text } = how;
  return [
    ...(failed ? [["again: ", bold(`vlinder clone ${text}`), dim("   goes on where it was")]] : []),
    ...(running
      ? []
      : [
          [
            "next: ",
            bold("vlinderd"),
            dim("   in a clone of the repository: npx vlinderd; or vlinder service install"),
          ],
        ]),
    ["then: ", bold("vlinder status"), dim("   and vlinder agent add DIR, where an agent's code is")],
    ...(waiting.length === 0 ? [] : [dim(`code is not in the bucket; without a folder yet: ${waiting.join(", ")}`)]),
  ];
}

type InitOptions = JoinFlags & { readonly join: true };
type Client = NonNullable<Awaited<ReturnType<Context["clientOrNull"]>>>;

/** On the home of the daemon that runs. */
async function cloneThere(context: Context, client: Client, uri: string, options: InitOptions): Promise<Cloned> {
  const [{ bucket }, { items }] = [await client.admin("sync.status"), await client.admin("agents.list")];
  refuseOther(
    bucket,
    uri,
    items.map(({ agent }) => agent),
  );
  const joined = await client.admin("sync.init", { uri, ...options }, PATIENT);
  const pulled = await client.admin("sync.pull", {}, { onProgress: context.progress });
  const listed = await client.admin("agents.list");
  return { joined, pulled, waiting: listed.items.flatMap(({ agent, dir }) => (dir === null ? [agent] : [])) };
}

/** Without a daemon: joins the vault, then pulls with the daemon's own code. */
async function cloneHere({ progress }: Context, uri: string, options: InitOptions): Promise<Cloned> {
  const { openCore } = await import("../../daemon-core.ts");
  const { createLog } = await import("../../observe/log.ts");
  const { loadConfig } = await import("../../registry/config.ts");
  return withOwnHome(async (home) => {
    // What goes wrong is in the reply; lines of a log would only be in a person's way.
    const core = await openCore({ home, config: await loadConfig(home), log: createLog("silent") });
    try {
      const items = (): ReturnType<typeof core.registry.list> => core.registry.list();
      refuseOther(
        core.sync.bucket,
        uri,
        items().map(({ name }) => name),
      );
      const joined = await core.sync.init(uri, options);
      const pulled = await core.pull(undefined, progress);
      const waiting = items().flatMap(({ name, registration }) => (registration?.source == null ? [name] : []));
      return { joined, pulled, waiting };
    } finally {
      await core.close();
    }
  });
}

/** A home with agents and another bucket, or none, is no new machine; with this bucket, a clone that was cut off goes on. */
function refuseOther(bucket: string | null, uri: string, agents: readonly string[]): void {
  if (agents.length === 0 || bucket === uri) return;
  const some = agents.slice(0, 5).join(", ") + (agents.length > 5 ? ` and ${agents.length - 5} more` : "");
  throw new VlinderError("conflict", `this home has agents already (${some}): clone is for a new machine`, {
    remedy:
      bucket === null
        ? `to bring both together: vlinder init ${uri}, then vlinder sync pull and vlinder sync push; ` +
          "for a home beside this one, set VLINDER_HOME to a new folder"
        : `its bucket is ${bucket}; for a home beside this one, set VLINDER_HOME to a new folder`,
    details: { agents: agents.slice(0, 5), bucket },
  });
}
