import type { Kv } from "@vlinder/agent-runtime";

interface Todo {
  readonly text: string;
  readonly done: boolean;
}

const KEY = "/todos.json";

const HELP = `add TEXT      add something to do
list          show what there is
done NUMBER   tick one off
`;

/** What of a turn the list needs. */
export type TodoStore = Pick<Kv, "get" | "putJson">;

/**
 * Does what a line says, and answers with the list. Nobody sees a turn's list before the turn ends; when two turns have
 * changed it at the same time, the merge policy of agent.toml keeps what both added.
 */
export async function answer(line: string, store: TodoStore): Promise<string> {
  const [, word = "", rest = ""] = /^\s*(\S*)\s*(.*?)\s*$/s.exec(line) ?? [];
  const todos = (await store.get(KEY))?.json<Todo[]>() ?? [];
  const changed = change(todos, word.toLowerCase(), rest);
  if (typeof changed === "string") return changed;
  if (changed !== todos) await store.putJson(KEY, changed);
  return format(changed);
}

/** The new list, the same one when there is nothing to do, or what to say instead. */
function change(todos: readonly Todo[], word: string, rest: string): readonly Todo[] | string {
  if (word === "list" && rest === "") return todos;
  if (word === "add" && rest !== "") return [...todos, { text: rest, done: false }];
  if (word !== "done" || !/^[1-9]\d*$/.test(rest)) return HELP;
  const number = Number(rest);
  if (todos[number - 1] === undefined) return `there is no todo ${number}\n`;
  return todos.map((todo, i) => (i === number - 1 ? { ...todo, done: true } : todo));
}

/** The list as people read it; numbers count from 1. */
function format(todos: readonly Todo[]): string {
  if (todos.length === 0) return "nothing to do\n";
  return todos.map(({ text, done }, i) => `${String(i + 1).padStart(2)} [${done ? "x" : " "}] ${text}\n`).join("");
}
