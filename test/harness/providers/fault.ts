import { setTimeout as sleep } from "node:timers/promises";
import type { ServerResponse } from "node:http";
import type { Provider, Reply, Whole } from "./provider.ts";

/** What goes wrong with the reply to a request that was in order. */
export type Fault =
  /** 429 with `Retry-After` in seconds. */
  | { readonly kind: "rate-limit"; readonly retryAfter: number }
  /** The provider fails before it answers: 500, 503, 529. */
  | { readonly kind: "status"; readonly status: number }
  /** The connection breaks after so many frames; in the middle of a reply of one piece. */
  | { readonly kind: "cut"; readonly after: number }
  /** The provider reports an error after so many frames, in the protocol's own form, and ends the stream. */
  | { readonly kind: "error-frame"; readonly after: number }
  | { readonly kind: "slow-start"; readonly ms: number }
  /** A pause before every frame. */
  | { readonly kind: "slow-frames"; readonly ms: number }
  /** The bytes come in pieces of this size, which cut lines, events and characters. */
  | { readonly kind: "shreds"; readonly bytes: number }
  /** Status 200, and half a JSON document with a right length. */
  | { readonly kind: "malformed" }
  /** 307 to another place. */
  | { readonly kind: "redirect"; readonly to: string };

/** The reply in place of the right one, where a fault replaces it. */
export function replaced(provider: Provider, path: string, reply: Reply, fault: Fault): Reply {
  switch (fault.kind) {
    case "rate-limit": {
      const refused = provider.refuse(provider.failure(429), path);
      return { ...refused, headers: { ...refused.headers, "retry-after": String(fault.retryAfter) } };
    }
    case "status":
      return provider.refuse(provider.failure(fault.status), path);
    case "redirect":
      return { status: 307, headers: { location: fault.to }, body: "" };
    case "malformed": {
      const body = "frames" in reply ? '{"id":"half' : reply.body.slice(0, reply.body.length / 2);
      return { status: 200, headers: { "content-type": "application/json" }, body };
    }
    case "error-frame":
      if (!("frames" in reply)) throw new Error("an error frame needs a stream");
      if (fault.after >= reply.frames.length)
        throw new Error(`the stream has no more than ${reply.frames.length} frames`);
      return { ...reply, frames: [...reply.frames.slice(0, fault.after), reply.errorFrame] };
    default:
      return reply;
  }
}

/** Resolves when the bytes are the kernel's, so that ending the connection doesn't take them back. */
async function write(response: ServerResponse, bytes: string | Buffer): Promise<void> {
  await new Promise<void>((resolve) => response.write(bytes, () => resolve()));
}

async function sendWhole(response: ServerResponse, reply: Whole, fault: Fault | null): Promise<void> {
  const body = Buffer.from(reply.body);
  response.writeHead(reply.status, { ...reply.headers, "content-length": String(body.length) });
  if (fault?.kind === "cut") {
    await write(response, body.subarray(0, body.length / 2));
    response.destroy();
  } else if (fault?.kind === "shreds") {
    for (let at = 0; at < body.length; at += fault.bytes) await write(response, body.subarray(at, at + fault.bytes));
    response.end();
  } else {
    response.end(body);
  }
}

/** Sends a reply in the way of a fault. */
export async function send(response: ServerResponse, reply: Reply, fault: Fault | null): Promise<void> {
  if (fault?.kind === "slow-start") await sleep(fault.ms);
  if (!("frames" in reply)) return await sendWhole(response, reply, fault);
  if (fault?.kind === "cut" && fault.after >= reply.frames.length) {
    throw new Error(`the stream has no more than ${reply.frames.length} frames`);
  }
  response.writeHead(200, reply.headers);
  if (fault?.kind === "shreds") {
    const all = Buffer.from(reply.frames.join(""));
    for (let at = 0; at < all.length; at += fault.bytes) await write(response, all.subarray(at, at + fault.bytes));
    return void response.end();
  }
  for (const [i, frame] of reply.frames.entries()) {
    if (fault?.kind === "cut" && i === fault.after) return void response.destroy();
    if (fault?.kind === "slow-frames") await sleep(fault.ms);
    if (response.destroyed) return;
    await write(response, frame);
  }
  response.end();
}
