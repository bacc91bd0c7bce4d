import { readFile } from "node:fs/promises";
import { type AgentName, VlinderError } from "@vlinder/protocol";

export interface Credentials {
  /** The file as NATS reads it. */
  readonly bytes: Uint8Array;
  /** Whose they are: an agent's name or `admin`. The server gives that name's inbox to them, and no other. */
  readonly owner: string | null;
}

/** @throws not_registered, denied, when the file can't be read */
export async function readCredentials(path: string, agent: AgentName | null): Promise<Credentials> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    if (agent === null) {
      throw new VlinderError("denied", `the credentials ${path} can't be read`, {
        cause,
        remedy: "run this as the user who runs vlinderd, or set VLINDER_CREDS",
      });
    }
    throw new VlinderError("not_registered", `the agent "${agent}" has no credentials: ${path} can't be read`, {
      cause,
      details: { agent },
      remedy: "register it: vlinder agent add DIR",
    });
  }
  return { bytes, owner: ownerOf(Buffer.from(bytes).toString("utf8")) };
}

/** The user's name in the token of a credentials file; null where there is none to be read. */
function ownerOf(text: string): string | null {
  const claims = /^[\w-]+\.([\w-]+)\.[\w-]+\s*$/m.exec(text)?.[1];
  if (claims === undefined) return null;
  try {
    const { name } = JSON.parse(Buffer.from(claims, "base64url").toString("utf8")) as { name?: unknown };
    return typeof name === "string" && /^[a-z0-9-]{1,64}$/.test(name) ? name : null;
  } catch {
    // Another server's credentials, whose form is not ours to judge: it says itself what it thinks of them.
    return null;
  }
}
