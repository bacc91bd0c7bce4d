import { describe, expect, test } from "vitest";
import {
  ADMIN_OPERATIONS,
  AGENT_OPERATIONS,
  adminRequests,
  agentRequests,
  checkRequest,
  ERROR_CODES,
  LIMITS,
  sha256,
} from "../src/index.ts";
import { Placeholders, readProtocolDocument } from "./protocol-document.ts";

const { text, steps, manifest } = await readProtocolDocument();

test("every request in the document is one that the daemon accepts", () => {
  expect(steps.length).toBeGreaterThan(35);
  const names = [...text.matchAll(/<([a-z]+):(hash|text)>/g)];
  // Texts that are remembered are ids, of effects and turns.
  const given = Object.fromEntries(
    names.map(([, name = "", kind]) => [name, kind === "hash" ? sha256(name) : `e-${sha256(name).slice(0, 24)}`]),
  );
  const placeholders = new Placeholders({
    ...given,
    dir: "/agents/example",
    bucket: "file:///vault",
    file: "/example.tar",
    copies: "/copies",
    device: sha256("device").slice(0, 32),
  });
  const schemas = { ...agentRequests, ...adminRequests };
  for (const { operation, request, line } of steps) {
    const schema = schemas[operation as keyof typeof schemas];
    expect(schema, `line ${line}: ${operation}`).toBeDefined();
    expect(() => checkRequest(schema, placeholders.fill(request)), `line ${line}`).not.toThrow();
  }
  expect(text.match(/^```json request/gm)?.length, "blocks that the extractor misses").toBe(steps.length);
  expect(manifest).toContain('name = "example"');
});

test("every operation is described, and has an example or a sentence", () => {
  for (const operation of [...AGENT_OPERATIONS, ...ADMIN_OPERATIONS]) expect(text).toContain(operation);
  const shown = new Set(steps.map(({ operation }) => operation));
  const without = [...AGENT_OPERATIONS, ...ADMIN_OPERATIONS].filter((operation) => !shown.has(operation));
  expect(without).toEqual(["agents.list", "daemon.drain", "daemon.reload"]);
});

test("the table of limits is LIMITS", () => {
  const rows =
    text
      .split("## Limits")[1]
      ?.split("\n## ")[0]
      ?.match(/^\|.*`\w+` \|$/gm) ?? [];
  const table = rows.map((row) => {
    const cells = row.split("|").map((cell) => cell.trim());
    return [cells.at(-2)?.replaceAll("`", ""), Number(cells[2]?.replaceAll(",", ""))];
  });
  expect(Object.fromEntries(table)).toEqual(LIMITS);
});

test("the table of error codes is ERROR_CODES", () => {
  const rows =
    text
      .split("## Errors")[1]
      ?.split("\n## ")[0]
      ?.match(/^\| `\w+` \|/gm) ?? [];
  expect(rows.map((row) => row.replace(/\W/g, ""))).toEqual(ERROR_CODES);
});

describe("placeholders", () => {
  test("remember what they stood for, and are strict about the rest", () => {
    const placeholders = new Placeholders();
    const [a, b] = [sha256("a"), sha256("b")];
    expect(placeholders.differences({ state: "<first:hash>" }, { state: a })).toEqual([]);
    expect(placeholders.fill({ at: "<first>", key: "/<x" })).toEqual({ at: a, key: "/<x" });
    expect(placeholders.differences({ state: "<first>" }, { state: a })).toEqual([]);
    expect(placeholders.differences({ state: "<first>" }, { state: b })).toHaveLength(1);
    expect(placeholders.differences({ state: "<hash>" }, { state: "x" })).toHaveLength(1);
    expect(placeholders.differences({ a: 1 }, { a: 1, b: 2 })).toEqual(["reply.b is not in the document"]);
    expect(placeholders.differences({ a: 1 }, {})).toEqual(["reply.a is missing"]);
    expect(placeholders.differences([1, "…"], [1, 2, 3])).toEqual([]);
    expect(placeholders.differences([1], [1, 2])).toHaveLength(1);
    expect(placeholders.differences(["<time>", "<number>"], ["2026-11-20T21:40:00.123Z", 0])).toEqual([]);
    expect(() => placeholders.fill({ at: "<unknown>" })).toThrow("nothing is known as <unknown>");
  });
});
