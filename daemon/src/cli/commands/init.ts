import { join } from "node:path";
import type { AdminReplies } from "@vlinder/protocol";
import { bucketUri } from "../bucket-uri.ts";
import type { Define } from "../catalogue.ts";
import { PATIENT } from "../context.ts";
import { START_REMEDY } from "../failure.ts";
import type { Outcome } from "../outcome.ts";
import { withOwnHome } from "../own-home.ts";
import { dim, green } from "../render/color.ts";
import { short } from "../render/hash.ts";

type InitReply = AdminReplies["sync.init"];

export const defineInit: Define = (command, act) => {
  command
    .argument("<uri>", "where memory is kept besides here: a folder, OWNER/NAME on Hugging Face, or s3://…")
    .action(
      act(async (context, text: string): Promise<Outcome> => {
        const uri = bucketUri(text);
        const client = await context.clientOrNull();
        const reply = client === null ? await initHere(uri) : await client.admin("sync.init", { uri }, PATIENT);
        return {
          json: reply,
          people: () => [
            [green(reply.created ? "made " : "joined "), `${reply.bucket}   vault ${short(reply.vault)}`],
            dim(client === null ? `no daemon runs; ${START_REMEDY}` : "next: vlinder sync push"),
          ],
        };
      }),
    );
};

async function initHere(uri: string): Promise<InitReply> {
  const { renewDevice } = await import("../../registry/device.ts");
  const { Sync } = await import("../../sync/sync.ts");
  return withOwnHome(async (home) => {
    const sync = await Sync.open({
      home: home.path,
      device: home.device,
      newDeviceId: () => renewDevice(join(home.path, "device.json")),
      // A bucket is named without looking at any agent.
      agents: {
        list: async () => [],
        adopt: () => Promise.reject(new Error("init pulls nothing")),
        isRemoved: () => false,
      },
      log: { info: () => undefined, warn: () => undefined },
    });
    try {
      return await sync.init(uri);
    } finally {
      await sync.close();
    }
  });
}
