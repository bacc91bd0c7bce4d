import { type Hash, sha256 } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import type { OldCall } from "../../src/turns/old-call.ts";
import { RecordedCalls } from "../../src/turns/recorded-calls.ts";

const PATH = "/v1/chat/completions";

function call(body: string | null, more: Partial<OldCall> = {}): OldCall {
  return {
    commit: sha256(`commit ${body} ${JSON.stringify(more)}`),
    service: "infer",
    provider: "local",
    model: "m",
    method: "POST",
    path: PATH,
    status: 200,
    milliseconds: 1,
    tokens: null,
    contentType: "application/json",
    complete: true,
    error: null,
    from: null,
    request: body === null ? null : { hash: sha256(body), size: body.length },
    response: { hash: sha256("answer"), size: 6 },
    ...more,
  };
}

function asked(body: string | null, more: { service?: string; method?: string; path?: string } = {}) {
  return { service: "infer", method: "POST", path: PATH, body: body === null ? null : Buffer.from(body), ...more };
}

describe("recorded calls", () => {
  test("equal requests get their answers in the order of then, each once", () => {
    const two = [call("a", { milliseconds: 1 }), call("a", { milliseconds: 2 })];
    const calls = new RecordedCalls(two);
    expect(calls.take(asked("a"))).toMatchObject({ call: 1, answer: two[0] });
    expect(calls.take(asked("a"))).toMatchObject({ call: 2, answer: two[1] });
    expect(calls.take(asked("a"))).toMatchObject({ call: 3, answer: null, instead: null });
  });

  test("what differs in anything that is asked is another call", () => {
    const calls = new RecordedCalls([call("a"), call(null, { method: "GET", path: "/v1/models" })]);
    for (const other of [
      asked("a", { service: "embed" }),
      asked("a", { path: `${PATH}?x=1` }),
      asked("a", { method: "GET" }),
      asked("b"),
      asked(null),
      asked("", { method: "GET", path: "/v1/models" }),
    ]) {
      expect(calls.take(other).answer).toBeNull();
    }
    expect(calls.take(asked("a")).answer).not.toBeNull();
    expect(calls.take(asked(null, { method: "GET", path: "/v1/models" })).answer).not.toBeNull();
  });

  test("a call that is not there is compared with the next of its kind, each with one of its own", () => {
    const [models, a, b] = [call(null, { method: "GET", path: "/v1/models" }), call("a"), call("b")];
    const calls = new RecordedCalls([models, a, b]);
    const compared: (Hash | undefined)[] = ["x", "y", "z", "w"].map((body) => calls.take(asked(body)).instead?.commit);
    expect(compared).toEqual([a.commit, b.commit, models.commit, undefined]);
    // Having been compared is not having been given.
    expect(calls.take(asked("a")).answer).toBe(a);
  });

  test("of a turn that was run on another model, the agent's own name for it is that one's", () => {
    const sent = '{"model":"other","messages":[]}';
    const calls = new RecordedCalls([call(sent), call(sent)], "other");
    const found = calls.take(asked('{ "model": "mine", "messages": [], "models": ["mine"] }'));
    expect(found.answer?.request?.hash).toBe(sha256(sent));
    expect(Buffer.from(found.body ?? []).toString()).toBe(sent);
    expect(calls.take(asked('{"model":"mine","messages":[1]}')).answer).toBeNull();
    expect(calls.take(asked("no JSON")).answer).toBeNull();
    expect(calls.take(asked(sent, { service: "embed" })).answer).toBeNull();
  });
});
