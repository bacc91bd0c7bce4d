import { encodeBody, type Encoding, LIMITS, VlinderError } from "@vlinder/protocol";
import { headers as natsHeaders, type ServiceMsg } from "nats";

/** Sends a reply, or a message before it. @throws too_large, and what the connection throws */
export function respond(
  { message, encoding }: { readonly message: ServiceMsg; readonly encoding: Encoding },
  body: object,
  headers: Readonly<Record<string, string>> | null,
): void {
  const bytes = encodeBody(body, encoding);
  if (bytes.length > LIMITS.replyBytes) throw tooLarge(bytes.length);
  if (headers === null) {
    message.respond(bytes);
    return;
  }
  const head = natsHeaders();
  for (const [name, value] of Object.entries(headers)) head.set(name, oneLine(value));
  message.respond(bytes, { headers: head });
}

/** A header is one line of printable text. */
function oneLine(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, " ").slice(0, 500);
}

function tooLarge(size: number): VlinderError {
  return new VlinderError("too_large", `the reply would be ${size} bytes`, {
    details: { size, limit: LIMITS.replyBytes },
    remedy: "ask for less at once",
  });
}
