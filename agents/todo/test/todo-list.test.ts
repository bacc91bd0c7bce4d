import { createHash } from "node:crypto";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { type Hash, Value, VlinderError } from "@vlinder/agent-runtime";
import { add, changeTodos, complete, format, readTodos, type TodoStore } from "../todo-list.ts";

/** One key, with the rule of `expect`. */
class OneKey implements TodoStore {
  text: string | null = null;
  conflicts = 0;

  async get(): Promise<Value | null> {
    await Promise.resolve();
    if (this.text === null) return null;
    const bytes = Buffer.from(this.text);
    return new Value({ value: bytes, hash: hashOf(this.text), size: bytes.length, state: hashOf("state") });
  }

  async putJson(_key: string, value: object, { expect: expected }: { expect?: string | null } = {}): Promise<never> {
    await Promise.resolve();
    if (expected !== (this.text === null ? null : hashOf(this.text))) {
      this.conflicts++;
      throw new VlinderError("conflict", "it has changed");
    }
    this.text = JSON.stringify(value);
    return {} as never;
  }
}

function hashOf(text: string): Hash {
  return createHash("sha256").update(text).digest("hex") as Hash;
}

test("todos are added, ticked off and shown", async () => {
  const store = new OneKey();
  expect(format(await readTodos(store))).toBe("nothing to do\n");
  await changeTodos(store, add("buy milk"));
  await changeTodos(store, add("call Ann"));
  expect(format(await changeTodos(store, complete(1)))).toBe(" 1 [x] buy milk\n 2 [ ] call Ann\n");
  await expect(changeTodos(store, complete(3))).rejects.toMatchObject({ code: "invalid" });
});

test("writers at the same time lose nothing", async () => {
  const store = new OneKey();
  const texts = Array.from({ length: 20 }, (_, i) => `item ${i}`);
  await Promise.all(texts.map((text) => changeTodos(store, add(text))));
  expect((await readTodos(store)).map(({ text }) => text).toSorted()).toEqual(texts.toSorted());
  expect(store.conflicts).toBeGreaterThan(0);
});

test("the command line says how it is used, and what is missing", () => {
  const main = fileURLToPath(new URL("../main.ts", import.meta.url));
  const run = (words: string[]): { status: number | null; stderr: string } => {
    const env = { ...process.env, VLINDER_URL: "nats://127.0.0.1:9", VLINDER_CREDS: "" };
    return spawnSync(process.execPath, [main, ...words], { env, encoding: "utf8" });
  };
  for (const words of [["add"], ["done", "x"], ["done", "0"], ["frob"]]) expect(run(words).status).toBe(2);
  expect(run(["list"])).toMatchObject({ status: 3, stderr: expect.stringContaining("vlinderd") });
});
