import type { ErrorCode, VlinderError } from "@vlinder/protocol";

const STATUS: Readonly<Record<ErrorCode, number>> = {
  invalid: 400,
  denied: 403,
  not_declared: 403,
  not_found: 404,
  not_registered: 404,
  conflict: 409,
  sealed: 409,
  erased: 410,
  pruned: 410,
  too_large: 413,
  internal: 500,
  unavailable: 503,
  timeout: 504,
  quota_exceeded: 507,
};

/**
 * A refusal of the daemon as the answer that an SDK can show: OpenAI's, Anthropic's and Vercel's read `error.message`, and
 * try again as the status and `x-should-retry` say.
 */
export function errorResponse(error: VlinderError): Response {
  const { code, message, remedy, details, retryable } = error;
  const told = remedy === undefined ? message : `${message}; ${remedy}`;
  const body = { type: "error", error: { type: code, code, message: `vlinder: ${told}`, param: null, details } };
  return new Response(JSON.stringify(body), {
    // Some go by the status alone, and try every 5xx again.
    status: !retryable && STATUS[code] > 500 ? 424 : STATUS[code],
    headers: {
      "content-type": "application/json",
      "vlinder-error": code,
      "x-should-retry": String(retryable),
    },
  });
}
