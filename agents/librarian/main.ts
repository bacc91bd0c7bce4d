import { serve } from "@vlinder/agent-runtime";
import { answer } from "./conversation.ts";

const server = await serve("librarian", (turn) => answer(turn.input, turn));
process.once("SIGTERM", () => void server.close());
await server.closed;
