import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { type Hash, Value } from "@vlinder/agent-runtime";
import { answer, type TodoStore } from "../todo-list.ts";

/** The one key of the list. */
class OneKey implements TodoStore {
  puts = 0;
  #text: string | null = null;

  async get(): Promise<Value | null> {
    if (this.#text === null) return null;
    const bytes = Buffer.from(this.#text);
    return new Value({ value: bytes, hash: hashOf(this.#text), size: bytes.length, state: hashOf("state") });
  }

  async putJson(_key: string, value: object): Promise<never> {
    this.puts++;
    this.#text = JSON.stringify(value);
    return {} as never;
  }
}

function hashOf(text: string): Hash {
  return createHash("sha256").update(text).digest("hex") as Hash;
}

test("todos are added, ticked off and shown", async () => {
  const store = new OneKey();
  expect(await answer("list", store)).toBe("nothing to do\n");
  expect(await answer("add buy milk", store)).toBe(" 1 [ ] buy milk\n");
  expect(await answer("  Add  call\nAnn ", store)).toBe(" 1 [ ] buy milk\n 2 [ ] call\nAnn\n");
  expect(await answer("done 1", store)).toBe(" 1 [x] buy milk\n 2 [ ] call\nAnn\n");
  expect(store.puts).toBe(3);
});

test("what is not understood changes nothing, and says what is", async () => {
  const store = new OneKey();
  for (const line of ["", "add", "frob", "list all", "done", "done 0", "done x"]) {
    expect(await answer(line, store)).toMatch(/^add TEXT .*\nlist .*\ndone NUMBER /);
  }
  expect(await answer("done 9", store)).toBe("there is no todo 9\n");
  expect(store.puts).toBe(0);
});
