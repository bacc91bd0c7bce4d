import { parse } from "./body.ts";
import { idOf } from "./generation.ts";
import { bracketed, type Flaw } from "./flaw.ts";
import { json, Refusal, type Problem, type Received, type Whole } from "./provider.ts";

/** How OpenAI names a kind of error by the status that it has. */
function typeOf(status: number, code: string | undefined): string {
  if (status === 429) return code === "insufficient_quota" ? "insufficient_quota" : "requests";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

/** OpenAI's error body; `param` and `code` are there even when they are null. */
export function openaiError({ status, message, param, code }: Problem): object {
  return { error: { message, type: typeOf(status, code), param: param ?? null, code: code ?? null } };
}

export function refuseAsOpenai(problem: Problem): Whole {
  return json(openaiError(problem), { "x-request-id": idOf("req_", problem.message, 32) }, problem.status);
}

/** `Authorization: Bearer` and exactly this key. @throws Refusal 401 */
export function authorizeAsOpenai(received: Received, key: string): void {
  const given = /^Bearer (.+)$/.exec(received.headers.authorization ?? "")?.[1];
  if (given === undefined) {
    const message =
      "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).";
    throw new Refusal({ status: 401, message });
  }
  if (given === key) return;
  // OpenAI's message shows a masked key; all of it is masked here, so that no test's output has one.
  const message =
    "Incorrect API key provided: ********. You can find your API key at https://platform.openai.com/account/api-keys.";
  throw new Refusal({ status: 401, message, code: "invalid_api_key" });
}

const A: Readonly<Record<string, string>> = {
  array: "an array",
  object: "an object",
  number: "a number",
  int: "an integer",
  string: "a string",
  boolean: "a boolean",
};

/** @throws Refusal 400, as OpenAI words it */
export function refuseFlaw(flaw: Flaw): never {
  const param = bracketed(flaw.path);
  const base = { status: 400, param };
  switch (flaw.kind) {
    case "missing":
      throw new Refusal({
        ...base,
        message: `Missing required parameter: '${param}'.`,
        code: "missing_required_parameter",
      });
    case "unknown":
      throw new Refusal({ ...base, message: `Unknown parameter: '${param}'.`, code: "unknown_parameter" });
    case "type": {
      const wanted = A[flaw.wanted] ?? flaw.wanted;
      const message = `Invalid type for '${param}': expected ${wanted}, but got ${A[flaw.got] ?? flaw.got} instead.`;
      throw new Refusal({ ...base, message, code: "invalid_type" });
    }
    case "value":
      throw new Refusal({ ...base, message: `Invalid value for '${param}': ${flaw.message}`, code: "invalid_value" });
  }
}

const NOT_JSON =
  "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)";

/** @throws Refusal 400 */
export function parseAsOpenai(received: Received): unknown {
  return parse(received, { status: 400, message: NOT_JSON });
}

/** What OpenAI says of a path or a method that it doesn't have. */
export function unknownRouteAsOpenai({ method, path }: Received, pathIsKnown: boolean): Problem {
  if (!pathIsKnown) return { status: 404, message: `Invalid URL (${method} ${path})` };
  const message = `Not allowed to ${method} on ${path}. (HINT: Perhaps you meant to use a different HTTP method?)`;
  return { status: 405, message, code: "method_not_supported" };
}

export function wrongContentTypeAsOpenai({ headers }: Received): Problem {
  const given = headers["content-type"] ?? "";
  const message = `Unsupported content type: '${given}'. This API method only accepts 'application/json' requests, but you specified the header 'Content-Type: ${given}'. Please try again with a supported content type.`;
  return { status: 400, message, code: "unsupported_content_type" };
}

export function failureAsOpenai(status: number): Problem {
  if (status === 429) return { status, message: "Rate limit reached for requests", code: "rate_limit_exceeded" };
  const message = "The server had an error while processing your request. Sorry about that!";
  return { status, message };
}
