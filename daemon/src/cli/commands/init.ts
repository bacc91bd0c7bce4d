import type { AdminReplies } from "@vlinder/protocol";
import { bucketUri } from "../bucket-uri.ts";
import type { Define } from "../catalogue.ts";
import { PATIENT } from "../context.ts";
import { START_REMEDY } from "../failure.ts";
import type { Outcome } from "../outcome.ts";
import { withOwnSync } from "../own-sync.ts";
import { readRecoveryKey, recoveryBlocks } from "../recovery-key.ts";
import { dim, green, yellow } from "../render/color.ts";
import { short } from "../render/hash.ts";

interface InitFlags {
  readonly encrypt?: boolean;
  readonly key?: string;
  readonly vault?: string;
  readonly name?: string;
}

export const defineInit: Define = (command, act) => {
  command
    .argument("<uri>", "where memory is kept besides here: a folder, OWNER/NAME on Hugging Face, or s3://…")
    .option("--encrypt", "a new vault that only its members can read; prints its recovery key, once")
    .option("--key <file>", "join an encrypted vault by its recovery key; - asks for it")
    .option("--vault <hash>", "join an encrypted vault that a member let this machine into")
    .option("--name <name>", "what the members call this machine (default: its host name)")
    .action(
      act(async (context, text: string, flags: InitFlags): Promise<Outcome> => {
        const { key, ...rest } = flags;
        const options = key === undefined ? rest : { ...rest, key: await readRecoveryKey(context, key) };
        const uri = bucketUri(text);
        const client = await context.clientOrNull();
        const reply: AdminReplies["sync.init"] =
          client === null
            ? await withOwnSync((sync) => sync.init(uri, options))
            : await client.admin("sync.init", { uri, ...options }, PATIENT);
        const kind = reply.encrypted ? "encrypted vault" : "vault";
        return {
          json: reply,
          people: () => [
            [green(reply.created ? "made " : "joined "), `${reply.bucket}   ${kind} ${short(reply.vault)}`],
            ...(reply.recovery === null ? [] : [...recoveryBlocks(reply.recovery), ""]),
            ...(flags.encrypt === true && reply.recovery === null
              ? [[yellow("no recovery key was made now: "), "vlinder vault rotate gives the vault one"]]
              : []),
            dim(client === null ? `no daemon runs; ${START_REMEDY}` : "next: vlinder sync push"),
          ],
        };
      }),
    );
};
