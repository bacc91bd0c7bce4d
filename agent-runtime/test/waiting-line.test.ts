import { expect, test } from "vitest";
import { type Kind, WaitingLine } from "../src/waiting-line.ts";

/** A line of work that has names. */
function namedLine(): {
  add: (name: string, keys: string[], kind: Kind, prepared?: Promise<unknown>) => Promise<unknown>;
  next: (kind: Kind) => string[];
} {
  const line = new WaitingLine();
  const names = new Map<unknown, string>();
  return {
    add: (name, keys, kind, prepared) => {
      const work = (): Promise<unknown> => Promise.resolve(name);
      names.set(work, name);
      return line.add(keys, kind, work, prepared);
    },
    next: (kind) => {
      const message = line.next(kind);
      line.done(message);
      return message.map(({ work }) => names.get(work) as string);
    },
  };
}

test("what is being prepared holds up its keys and nothing else", async () => {
  const line = namedLine();
  const { promise, resolve } = Promise.withResolvers<void>();
  void line.add("large", ["/a", "/b"], "writes", promise);
  void line.add("get of a", ["/a"], "reads");
  void line.add("put of b", ["/b"], "writes");
  void line.add("get of c", ["/c"], "reads");
  void line.add("put of d", ["/d"], "writes");
  expect([line.next("reads"), line.next("reads")]).toEqual([["get of c"], []]);
  expect([line.next("writes"), line.next("writes")]).toEqual([["put of d"], []]);
  resolve();
  await promise;
  expect(line.next("reads")).toEqual([]);
  expect([line.next("writes"), line.next("writes"), line.next("reads")]).toEqual([
    ["large"],
    ["put of b"],
    ["get of a"],
  ]);
});

test("what could not be prepared leaves the line, wherever it stands", async () => {
  const line = namedLine();
  const { promise, reject } = Promise.withResolvers<void>();
  void line.add("first", ["/a"], "writes");
  const failed = line.add("failing", ["/a", "/b"], "writes", promise);
  void line.add("last", ["/a", "/b"], "writes");
  reject(new Error("pulled out"));
  await expect(failed).rejects.toThrow("pulled out");
  expect([line.next("writes"), line.next("writes"), line.next("writes")]).toEqual([["first"], ["last"], []]);
});
