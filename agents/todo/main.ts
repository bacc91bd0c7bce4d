import { connect, VlinderError } from "@vlinder/agent-runtime";
import { add, changeTodos, complete, format, readTodos, type TodoStore } from "./todo-list.ts";

const USAGE = `usage: node main.ts add TEXT...   add a todo
       node main.ts list          show them
       node main.ts done NUMBER   tick one off
`;

/** What a command line asks for; null when it is not understood. */
function commandOf(words: readonly string[]): ((store: TodoStore) => Promise<string>) | null {
  const [name = "list", ...rest] = words;
  const text = rest.join(" ").trim();
  if (name === "list" && text === "") return async (store) => format(await readTodos(store));
  if (name === "add" && text !== "") return async (store) => format(await changeTodos(store, add(text)));
  if (name === "done" && /^[1-9]\d*$/.test(text)) {
    return async (store) => format(await changeTodos(store, complete(Number(text))));
  }
  return null;
}

const command = commandOf(process.argv.slice(2));
if (command === null) {
  process.stderr.write(USAGE);
  process.exitCode = 2;
} else {
  try {
    const vlinder = await connect({ agent: "todo" });
    try {
      process.stdout.write(await command(vlinder.kv));
    } finally {
      await vlinder.close();
    }
  } catch (error) {
    if (!(error instanceof VlinderError)) throw error;
    process.stderr.write(`${error.message}${error.remedy === undefined ? "" : `\n${error.remedy}`}\n`);
    process.exitCode = error.code === "unavailable" ? 3 : 1;
  }
}
