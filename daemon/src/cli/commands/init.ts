import type { InitReply } from "@vlinder/protocol";
import { bucketUri } from "../bucket-uri.ts";
import type { Define } from "../catalogue.ts";
import { PATIENT } from "../context.ts";
import { START_REMEDY } from "../failure.ts";
import { type JoinFlags, joinOptions, withJoinOptions } from "../join-options.ts";
import type { Outcome } from "../outcome.ts";
import { withOwnSync } from "../own-sync.ts";
import { recoveryBlocks } from "../recovery-key.ts";
import { dim, green, yellow } from "../render/color.ts";
import { short } from "../render/hash.ts";

interface InitFlags extends JoinFlags {
  readonly encrypt?: boolean;
}

export const defineInit: Define = (command, act) => {
  const named = command
    .argument("<uri>", "where memory is kept besides here: a folder, OWNER/NAME on Hugging Face, or s3://…")
    .option("--encrypt", "a new vault that only its members can read; prints its recovery key, once");
  withJoinOptions(named).action(
    act(async (context, text: string, flags: InitFlags): Promise<Outcome> => {
      const options = await joinOptions(context, flags);
      const uri = bucketUri(text);
      const client = await context.clientOrNull();
      const reply: InitReply =
        client === null
          ? await withOwnSync((sync) => sync.init(uri, options))
          : await client.admin("sync.init", { uri, ...options }, PATIENT);
      const kind = reply.encrypted ? "encrypted vault" : "vault";
      return {
        json: reply,
        people: () => [
          [green(reply.created ? "made " : "joined "), `${reply.bucket}   ${kind} ${short(reply.vault)}`],
          dim(probeText(reply)),
          ...reply.notes.map((note) => [yellow("note: "), note]),
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

function probeText({ probe }: InitReply): string {
  const took = probe.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  return `tried there: ${probe.map(({ step }) => step).join(", ")}, in ${(took / 1000).toFixed(1)} s`;
}
