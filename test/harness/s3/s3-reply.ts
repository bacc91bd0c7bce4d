import type { ServerResponse } from "node:http";

export interface S3Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string;
}

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/** `{A: "1", B: [{C: "2"}]}` as XML. */
function elements(value: Readonly<Record<string, unknown>>): string {
  return Object.entries(value)
    .flatMap(([name, inner]) =>
      Array.isArray(inner) ? inner.map((one) => [name, one] as const) : [[name, inner] as const],
    )
    .map(([name, inner]) => {
      const text =
        typeof inner === "object" && inner !== null
          ? elements(inner as Record<string, unknown>)
          : escaped(String(inner));
      return `<${name}>${text}</${name}>`;
    })
    .join("");
}

export function xmlReply(status: number, root: string, value: Readonly<Record<string, unknown>>): S3Reply {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<${root}>${elements(value)}</${root}>`;
  return { status, body, headers: { "content-type": "application/xml" } };
}

/** The error as S3 sends it: with all that it knows of the request, the key's id and the token among it. */
export function errorReply(
  status: number,
  Code: string,
  Message: string,
  more: Readonly<Record<string, unknown>> = {},
): S3Reply {
  return xmlReply(status, "Error", { Code, Message, ...more, RequestId: "4442587FB7D0A2F9" });
}

/** Keys of a delete of many. */
export function deleteKeys(xml: string): string[] {
  const entities: Record<string, string> = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'" };
  return [...xml.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = ""]) =>
    key.replaceAll(/&(amp|lt|gt|quot|apos);/g, (one) => entities[one] as string),
  );
}

/** Sends it; `cut` sends half of the body under the whole one's length, and hangs up. */
export function sendReply(
  response: ServerResponse,
  method: string,
  { status, headers = {}, body = "" }: S3Reply,
  cut = false,
): number {
  const bytes = Buffer.from(body);
  const isHead = method === "HEAD";
  response.writeHead(status, { "content-length": bytes.length, date: new Date().toUTCString(), ...headers });
  if (isHead) response.end();
  else if (cut) response.write(bytes.subarray(0, bytes.length >> 1), () => setTimeout(() => response.destroy(), 20));
  else response.end(bytes);
  return isHead ? 0 : bytes.length;
}
