import { setTimeout as sleep } from "node:timers/promises";
import { serve, type Turn, type TurnOutput } from "@vlinder/agent-runtime";

/** An agent that does as its input says, for tests of who talks to it. */
const [name = ""] = process.argv.slice(2);

async function answer(turn: Turn): Promise<TurnOutput> {
  const [word, ...rest] = turn.input.split(" ");
  const text = rest.join(" ");
  switch (word) {
    case "stream":
      for (const part of text.split(/(?<= )/)) {
        await turn.emit(part);
        await sleep(50);
      }
      return text;
    case "preview":
      await turn.emit("thinking…");
      return text;
    case "only-parts":
      await turn.emit(text);
      return undefined;
    case "bytes":
      return new Uint8Array([0, 255, 27]);
    case "steer":
      await turn.emit("\x1b[31mred\x1b[0m\r");
      return "\x1b[31mred\x1b[0m\r\nline";
    case "throw":
      await turn.kv.put("/thrown", text);
      throw new Error(text);
    case "conflict":
      await turn.kv.put("/contested", "mine", { expect: null });
      await server.vlinder.kv.put("/contested", "theirs");
      return "never seen";
    case "wait":
      await turn.emit("waiting");
      await new Promise((resolve) => turn.signal.addEventListener("abort", resolve));
      return undefined;
    case "history":
      return (await turn.history()).map(({ input }) => input).join("|");
    default:
      return `you said ${JSON.stringify(turn.input)}`;
  }
}

const server = await serve(name, answer, { onError: () => {} });
process.once("SIGTERM", () => void server.close());
process.stdout.write("serving\n");
await server.closed;
