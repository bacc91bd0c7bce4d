import { Refusal, type Problem, type Received } from "./provider.ts";

/** A request's body as JSON. @throws Refusal with the problem given */
export function parse(received: Received, problem: Problem): unknown {
  try {
    return JSON.parse(received.body);
  } catch {
    throw new Refusal(problem);
  }
}
