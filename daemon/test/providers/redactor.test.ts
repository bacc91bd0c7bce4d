import fc from "fast-check";
import { expect, test } from "vitest";
import { requestHeaders, responseHeaders } from "../../src/providers/headers.ts";
import { Redactor } from "../../src/providers/redactor.ts";

function redacted(key: string | null, pieces: readonly string[]): string {
  const redactor = new Redactor(key);
  const out = pieces.map((piece) => redactor.push(Buffer.from(piece)));
  return Buffer.concat([...out, redactor.end()]).toString("utf8");
}

test("a key is taken out however the text is cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom("aab", "a", "ab", "x", "aa", "b"), { maxLength: 30 }),
      fc.array(fc.nat(4), { minLength: 1 }),
      (words, cuts) => {
        const text = words.join("");
        const pieces: string[] = [];
        for (let at = 0, i = 0; at < text.length; i++) {
          const length = 1 + (cuts[i % cuts.length] as number);
          pieces.push(text.slice(at, at + length));
          at += length;
        }
        expect(redacted("aab", pieces)).toBe(text.replaceAll("aab", "[secret]"));
      },
    ),
  );
});

test("nothing is held back that can't be the key, and without a key nothing is looked at", () => {
  const redactor = new Redactor("secret");
  expect(redactor.push(Buffer.from("data: sec")).toString()).toBe("data: ");
  expect(redactor.push(Buffer.from("ond\n\n")).toString()).toBe("second\n\n");
  const bytes = Buffer.from("x");
  expect(new Redactor(null).push(bytes)).toBe(bytes);
});

test("headers of a request: those of the list, the key, and no more", () => {
  const given = {
    Authorization: "Bearer placeholder",
    "X-Api-Key": "placeholder",
    Host: "evil",
    Connection: "close",
    "Transfer-Encoding": "chunked",
    "Content-Length": "1",
    "Content-Type": "text/plain",
    Cookie: "a=b",
    "X-Forwarded-For": "1.2.3.4",
    "OpenAI-Organization": "o",
    Accept: "text/event-stream",
    "X-Stainless-Retry-Count": "1",
    "Anthropic-Beta": "b",
  };
  expect(requestHeaders(given, "openai", "k", 5)).toEqual({
    accept: "text/event-stream",
    "accept-encoding": "identity",
    "anthropic-beta": "b",
    authorization: "Bearer k",
    "content-length": "5",
    "content-type": "application/json",
    "x-stainless-retry-count": "1",
  });
  expect(requestHeaders({}, "anthropic", "k", null)).toEqual({
    "accept-encoding": "identity",
    "anthropic-version": "2023-06-01",
    "x-api-key": "k",
  });
  expect(requestHeaders({ authorization: "Bearer placeholder" }, "ollama", null, null)).toEqual({
    "accept-encoding": "identity",
  });
});

test("headers of an answer: none of the connection, no cookie, none with the key, within a bound", () => {
  const given = {
    "content-type": "application/json",
    "content-length": "5",
    "content-encoding": "gzip",
    "set-cookie": ["a=b"],
    connection: "keep-alive",
    "retry-after": "3",
    "x-echo": "it was the-key",
    "x-odd": "a\u0000b",
    "request-id": "r",
  };
  expect(responseHeaders(given, "the-key")).toEqual({
    "content-type": "application/json",
    "retry-after": "3",
    "request-id": "r",
  });
  expect(Object.keys(responseHeaders({ a: "1", b: "x".repeat(20_000), c: "1" }, null))).toEqual(["a"]);
});
