import type { NatsConnection } from "nats";
import { z } from "zod";
import { VlinderError } from "@vlinder/protocol";
import { systemUserClaims } from "./claims.ts";
import { openConnection } from "./connection.ts";
import { newUser, userAuthenticator } from "./key-pair.ts";
import type { Keys } from "./keys.ts";

const UPDATE = "$SYS.REQ.CLAIMS.UPDATE";
const replySchema = z.object({
  data: z.object({ code: z.number() }).optional(),
  error: z.object({ description: z.string().optional() }).optional(),
});

/**
 * Gives the running server an account's new claims. It takes them at once and closes the connections
 * of revoked users; nobody else notices.
 *
 * @throws unavailable
 */
export async function updateAccount(url: string, keys: Keys, claims: string): Promise<void> {
  const user = newUser();
  const connection = await openConnection({
    url,
    name: "vlinderd-system",
    authenticator: userAuthenticator(await systemUserClaims(keys, user), user),
    inboxPrefix: "_INBOX.vlinderd-system",
    remedy: "look into nats-server.log in $VLINDER_HOME/nats",
  });
  try {
    await request(connection, claims);
  } finally {
    await connection.close();
  }
}

async function request(connection: NatsConnection, claims: string): Promise<void> {
  const reply = await connection.request(UPDATE, claims, { timeout: 5_000 }).catch((cause: unknown) => {
    throw new VlinderError("unavailable", "nats-server did not answer a change of its account", { cause });
  });
  const { data, error } = replySchema.parse(reply.json());
  if (data?.code !== 200) {
    throw new VlinderError(
      "internal",
      `nats-server refused a change of its account: ${error?.description ?? "no reason"}`,
    );
  }
}
