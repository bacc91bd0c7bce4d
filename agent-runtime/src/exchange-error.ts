import { VlinderError } from "@vlinder/protocol";
import { NatsError } from "nats";

// What can go wrong with one try of a request.

export function lost(): VlinderError {
  return new VlinderError("unavailable", "the connection to the daemon is lost", {
    remedy: "it is tried again by itself; if it stays so, start the daemon: vlinderd",
  });
}

export function noResponder(subject: string): VlinderError {
  return new VlinderError("unavailable", `no daemon answers on ${subject}`, {
    details: { subject, received: false },
    remedy: "start it: vlinderd",
  });
}

export function timedOut({ subject, timeout }: { readonly subject: string; readonly timeout: number }): VlinderError {
  return new VlinderError("timeout", `no reply from ${subject} in ${timeout} ms`, {
    details: { subject, timeout },
    remedy: "see what the daemon is doing: vlinder status",
  });
}

export function denied(subject: string, cause: unknown): VlinderError {
  return new VlinderError("denied", `these credentials may not use ${subject}`, {
    cause,
    details: { subject },
    remedy: "an agent reaches its own subjects only; use that agent's credentials, or the administrator's",
  });
}

export function tooLarge(size: number, limit: number): VlinderError {
  return new VlinderError("too_large", `a message of ${size} bytes is larger than ${limit}`, {
    details: { size, limit },
    remedy: "send less in one request",
  });
}

export function closed(cause: unknown): VlinderError {
  if (cause instanceof NatsError && cause.isAuthError()) {
    return new VlinderError("denied", "the server refused these credentials when it was reached again", {
      cause,
      remedy: "the agent may have been removed: vlinder agent list",
    });
  }
  return new VlinderError("unavailable", "the connection is closed", {
    cause,
    retryable: false,
    remedy: "connect again",
  });
}
