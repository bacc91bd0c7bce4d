import { type Kv, VlinderError } from "@vlinder/agent-runtime";

export interface Todo {
  readonly text: string;
  readonly done: boolean;
}

const KEY = "/todos.json";

/** What of the storage the list needs. */
export type TodoStore = Pick<Kv, "get" | "putJson">;

export async function readTodos(store: TodoStore): Promise<Todo[]> {
  return (await store.get(KEY))?.json<Todo[]>() ?? [];
}

/**
 * Writes what `change` makes of the list. The put expects the list that was read: if somebody else
 * wrote in between, it is refused, and the change is made again on what is there now. So two writers
 * lose nothing.
 */
export async function changeTodos(store: TodoStore, change: (todos: readonly Todo[]) => Todo[]): Promise<Todo[]> {
  for (;;) {
    const value = await store.get(KEY);
    const todos = change(value?.json<Todo[]>() ?? []);
    try {
      await store.putJson(KEY, todos, { expect: value?.hash ?? null });
      return todos;
    } catch (error) {
      if (!(error instanceof VlinderError && error.code === "conflict")) throw error;
    }
  }
}

export function add(text: string): (todos: readonly Todo[]) => Todo[] {
  return (todos) => [...todos, { text, done: false }];
}

/** Numbers count from 1, as `list` prints them. @throws invalid */
export function complete(number: number): (todos: readonly Todo[]) => Todo[] {
  return (todos) => {
    if (todos[number - 1] === undefined) {
      throw new VlinderError("invalid", `there is no todo ${number}`, { remedy: "`list` shows the numbers" });
    }
    return todos.map((todo, i) => (i === number - 1 ? { ...todo, done: true } : todo));
  };
}

/** The list as people read it. */
export function format(todos: readonly Todo[]): string {
  if (todos.length === 0) return "nothing to do\n";
  return todos.map(({ text, done }, i) => `${String(i + 1).padStart(2)} [${done ? "x" : " "}] ${text}\n`).join("");
}
