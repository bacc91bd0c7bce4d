import { serve } from "@vlinder/agent-runtime";
import { answer } from "./todo-list.ts";

const server = await serve("todo", (turn) => answer(turn.input, turn.kv));
process.once("SIGTERM", () => void server.close());
await server.closed;
